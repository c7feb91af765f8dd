"""Losses drawn with characters: a curve of a few lines for a terminal, or a row of small bars.

A braille sign has 2 x 4 dots, so a curve of 60 x 8 signs shows 120 x 32 points.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

_SPARKS = "▁▂▃▄▅▆▇█"
# Bits of a braille sign's dots, by column and row (Unicode, U+2800).
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_MARK = "●"
_LABEL = 8  # characters for a value on the left
Point = tuple[int, float]


def spark(values: Sequence[float], width: int = 40) -> str:
    """The values as a row of small bars; "" where there is nothing to compare."""
    if len(values) < 2:
        return ""
    step = max(1.0, len(values) / width)
    points = [values[int(i * step)] for i in range(min(width, len(values)))]
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    return "".join(_SPARKS[int((value - low) / span * (len(_SPARKS) - 1))] for value in points)


def curve(line: Sequence[Point], marks: Sequence[Point] = (), *, last: int, width: int = 70, height: int = 8) -> Text:
    """A line and marks over steps from 1 to `last`; values on the left, steps below: height + 1 lines of text.

    Where several steps share a column their mean is drawn. Nothing where there are fewer than two points.
    """
    shown = Text()
    if len(line) < 2 or width < _LABEL + 10 or height < 2:
        return shown
    columns = 2 * (width - _LABEL - 2)
    last = max(last, 2, *(step for step, _value in (*line, *marks)))

    def across(step: int) -> int:
        # The held-out rows are looked at before the first step as well.
        return max(0, min(columns - 1, round((step - 1) / (last - 1) * (columns - 1))))

    gathered: dict[int, list[float]] = {}
    for step, value in line:
        gathered.setdefault(across(step), []).append(value)
    points = {column: sum(values) / len(values) for column, values in sorted(gathered.items())}
    every = [*points.values(), *(value for _step, value in marks)]
    low, high = min(every), max(every)
    span = (high - low) or 1.0
    rows = 4 * height

    def down(value: float) -> int:
        return round((high - value) / span * (rows - 1))

    cells = [[0] * (columns // 2) for _row in range(height)]
    before: tuple[int, int] | None = None
    for column, value in points.items():
        row = down(value)
        for x, y in _between(before or (column, row), (column, row)):
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        before = (column, row)
    marked = {(down(value) // 4, across(step) // 2) for step, value in marks}
    for number, row_cells in enumerate(cells):
        value = high - span * number / (height - 1)
        label = f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"
        shown.append(f"{label:>{_LABEL}} ", "dim")
        shown.append("│" if number % 2 else "┤", "dim")
        for place, bits in enumerate(row_cells):
            if (number, place) in marked:
                shown.append(_MARK, "yellow")
            else:
                shown.append(chr(0x2800 + bits) if bits else " ", "green")
        shown.append("\n")
    room = columns // 2 - len(str(last))
    shown.append(f"{'':{_LABEL}} └1{last!s:>{room + len(str(last)) - 1}}", "dim")
    return shown


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots of a straight line."""
    count = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (round(start[0] + (end[0] - start[0]) * n / count), round(start[1] + (end[1] - start[1]) * n / count))
        for n in range(count + 1)
    ]
