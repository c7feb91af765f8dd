"""Tables (csv, tsv, spreadsheets): the delimiter, the row with the headers, and the rows under it as records."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from appliance.data import words
from appliance.data.notes import Note
from appliance.locale import _

LOOKED_AT = 20  # rows in which the headers are looked for
_SHORT = 24  # characters: a longer first row holds sentences, not headers


@dataclass(frozen=True)
class Broken:
    """Stands where a row should be; the reason is one of `check.REASONS`."""

    reason: str


class Record(NamedTuple):
    """One raw row and the line (in a spreadsheet: the row number) where it begins."""

    line: int
    value: Any


@dataclass
class Table:
    """A sheet: the columns' names and the records under them, dictionaries from column to text."""

    columns: list[str]
    records: Callable[[], Iterator[Record]]
    notes: list[Note]
    sheet: str
    sheets: list[str]  # all with rows
    likely: list[str]  # those that could be meant
    known: bool  # whether headers were found


Numbered = tuple[int, "list[str] | Broken"]


def delimiter(sample: str) -> str:
    """The mark that cuts the sample's rows into the same number of columns most often; "" when there is none."""
    best, best_score = "", 0.0
    for mark in ("\t", ",", ";", "|", "，"):
        if mark not in sample:
            continue
        rows = [row for row in list(csv.reader(io.StringIO(sample, newline=""), delimiter=mark))[:200] if any(row)]
        counts = [len(row) for row in rows]
        if len(sample) > 1000 and len(counts) > 1:
            counts.pop()  # the sample's end cuts a row
        usual = max(set(counts), key=counts.count, default=1)
        score = counts.count(usual) / len(counts) if usual > 1 else 0.0
        score += any(
            len(words.match(row)) > 1 for row in rows[:LOOKED_AT] if len(row) == usual > 1 and _names_only(row)
        )
        if score > best_score + 0.05:
            best, best_score = mark, score
    return best if best_score >= 0.4 else ""


def headed(sample: str) -> bool:
    """Whether the first line of a text names columns with questions and answers, and the others are cut like it."""
    mark = delimiter(sample)
    cells = next((line for line in sample.splitlines() if line.strip()), "").split(mark or None)
    return bool(mark) and _names_only(cells) and sum(map(words.is_known, cells)) > 1


def tabbed(sample: str) -> bool:
    """Whether a text is a table with tabs: the same number of them in all its lines, of which there are some."""
    lines = [line for line in sample.splitlines()[:200] if line.strip()]
    lines = lines[:-1] if len(lines) > 100 else lines  # the sample's end cuts a line
    return len(lines) > 2 and len({line.count("\t") for line in lines}) == 1 and "\t" in lines[0]


@dataclass(frozen=True)
class Head:
    """What stands above a table's rows: the columns' names, and the rows that are titles and headers, by number."""

    columns: list[str]
    skipped: frozenset[int]
    notes: list[Note]
    known: bool  # whether headers were found


def head(
    top: Sequence[Numbered], mapping: Mapping[str, str], merged: Sequence[Sequence[int]] = (), width: int = 0
) -> Head:
    """The headers among a table's first rows. `merged`: ranges of merged cells, see `book_reader.py`.

    `width`: how many columns there are, where that is known; in a csv file a row with more than the headers is broken.
    """
    filled = [(number, cells) for number, cells in top if isinstance(cells, list) and _filled(cells)][:LOOKED_AT]
    place = _header(filled, mapping)
    if place is None:
        # Without headers the usual number of cells counts: a row with more is one with a delimiter in its text.
        counts = [len(cells) for _number, cells in filled]
        columns = _names([], width or max(counts, key=counts.count, default=0))
        # a title above rows without headers
        title = len(filled) > 1 and _filled(filled[0][1]) == 1 < _filled(filled[1][1])
        sentence = _("No row with headers was found: the columns are called {columns}.")
        notes = [Note("no_headers", sentence.format(columns=", ".join(columns)))] if filled else []
        return Head(columns, frozenset({filled[0][0]} if title else ()), notes, False)
    number, cells = filled[place]
    # A header merged over several rows makes those below it part of the headers: the lowest name counts.
    last = max((end for begin, _left, end, _right in merged if begin <= number <= end), default=number)
    names = list(cells)
    for below, more in filled[place + 1 :]:
        if below <= last:
            names += [""] * (len(more) - len(names))
            names = [more[i] if i < len(more) and more[i].strip() else name for i, name in enumerate(names)]
    skipped = frozenset(other for other, _cells in filled if other <= max(number, last))
    stripped = [name.strip() for name in names if name.strip()]
    twice = [name for name in dict.fromkeys(stripped) if stripped.count(name) > 1]
    sentence = _(
        "Headers that stand there twice: {columns}. Only the first of each is read: "
        "put a second table below the first, or on a sheet of its own."
    )
    notes = [Note("headers_twice", sentence.format(columns=", ".join(twice)))] if twice else []
    return Head(_names(names, width), skipped, notes, True)


def _filled(cells: Sequence[str]) -> int:
    return sum(1 for cell in cells if cell.strip())


def _header(top: Sequence[tuple[int, list[str]]], mapping: Mapping[str, str]) -> int | None:
    """Which of the first rows holds the headers: one named in the mapping, one with our words, one of short names."""
    wanted = {words.plain(column) for column in mapping.values()}
    for index, (_number, cells) in enumerate(top):
        if wanted and wanted <= {words.plain(cell) for cell in cells}:
            return index
    for index, (_number, cells) in enumerate(top):
        known = len({words.plain(cell) for cell in cells if words.is_known(cell) or words.plain(cell) in words.CLASSES})
        if known < 2 and index and max(_filled(above) for _n, above in top[:index]) >= _filled(cells):
            break  # what stands above headers are titles, which fill fewer cells, or groups of headers
        matched = len(words.match([cell for cell in cells if cell.strip()])) if _names_only(cells) else 0
        lone = all(_filled(row) <= 1 for _n, row in top)
        named = index == 0 and _names_only(cells) and sum(map(words.is_name, cells)) >= 2
        if named or max(known, matched) >= 2 or (known == 1 and index == 0 and (lone or _filled(cells) > 1)):
            return index
    for index, (_number, cells) in enumerate(top[:-1]):
        below = [row for _n, row in top[index + 1 :]]
        if _filled(cells) < max(2, max(map(_filled, below))):
            continue
        longest = max(len(cell) for row in below for cell in row)
        return index if _names_only(cells) and longest > 2 * max(len(cell) for cell in cells) else None
    return None


def _names_only(cells: Sequence[str]) -> bool:
    """Whether cells read like names of columns: short, no sentences, no numbers."""
    texts = [cell.strip() for cell in cells]
    sentences = any(len(text) > _SHORT or text.endswith(tuple("。.?？!！,，;；")) for text in texts)
    return not sentences and not any(text.replace(".", "", 1).isdigit() for text in texts)


def letter(index: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA, as spreadsheets count columns."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(65 + rest) + name
    return name


def _names(cells: Sequence[str], width: int) -> list[str]:
    """The columns' names, each once: the header, else the column's letter."""
    names: list[str] = []
    for index in range(max(width, len(cells))):
        name = cells[index].strip().lstrip("\ufeff") if index < len(cells) else ""
        # not the bare letter: "A" and "Q" are header words
        names.append(name if name and name not in names else f"{name or 'column'} {letter(index)}")
    return names
