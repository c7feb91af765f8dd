"""The plainest of large files, a table with a question and an answer in each row, by columns instead of by rows.

A block is parsed and searched by libraries that work on whole columns (pyarrow, numpy), in a third of the time. What is
out of the ordinary (a row that is left out for another reason than being empty, a title, blank lines, damage) is not
judged here: then the block is read row by row, like any other. Both ways give the same findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.data.blocks import Block
from appliance.data.convert import Layout, convert
from appliance.data.parse import END, Cells
from appliance.data.rows import Row, Unusable
from appliance.data.texts import ROLE, Texts


@dataclass
class Pairs:
    """The rows of a block. Questions and answers are arrow arrays."""

    lines: NDArray[np.int64]
    questions: Any
    answers: Any
    rows: int  # all of the block, those left out too
    dropped: list[tuple[str, int]]  # (reason, line)
    layout: Layout
    share: float = 1.0  # of the file

    def row(self, number: int) -> Row:
        """One row in the internal form."""
        return _row(self.questions[number].as_py(), self.answers[number].as_py())

    def texts(self) -> Texts:
        """The rows' flat texts."""
        import pyarrow.compute as compute

        first, middle, last, nothing = _marks()
        made = compute.binary_join_element_wise(first, self.questions, middle, self.answers, last, nothing)
        _valid, places, data = made.buffers()
        starts = np.frombuffer(places, dtype=np.int32)[: len(made) + 1].astype(np.int64)
        asked, answered = (_numbers(compute.utf8_length(part)) for part in (self.questions, self.answers))
        whole, begins = data.slice(0, int(starts[-1])).to_pybytes(), starts[:-1] + ROLE
        ends = begins + _numbers(compute.binary_length(self.questions))
        behind, after = len(_MARKS[1]), len(_MARKS[2])

        def written(number: int) -> str:
            end = ends[number]
            asking, answering = whole[begins[number] : end], whole[end + behind : starts[number + 1] - after]
            return f"{asking.decode()}\n{answering.decode()}"

        octets = np.diff(starts) - sum(map(len, _MARKS))
        return Texts(whole, starts, begins, asked + answered, octets, written)


_MARKS = ("user\x1e", "\x1eassistant\x1e", "\x1e\x1d", "")  # around a question and an answer, see `texts.flat`


@cache
def _marks() -> list[Any]:
    """The same for arrow, which looks for pandas each time when it makes a value."""
    import pyarrow

    return [pyarrow.scalar(mark) for mark in _MARKS]


def _numbers(array: Any) -> NDArray[np.int64]:
    """An arrow array of 32-bit integers without gaps. Its own `to_numpy` looks for pandas each time it is called."""
    begin = array.offset
    return np.frombuffer(array.buffers()[1], dtype=np.int32)[begin : begin + len(array)].astype(np.int64)


def _ends_whole(data: bytes) -> bool:
    """Whether every CR stands before a LF."""
    if b"\r" not in data:
        return True
    octets = np.frombuffer(data, dtype=np.uint8)
    places = np.flatnonzero(octets == 13) + 1
    return bool(places[-1] < len(octets) and (octets[places] == 10).all())


def _line_ends(texts: Any) -> NDArray[np.int64]:
    """How many line ends each text has."""
    _valid, places, data = texts.buffers()
    starts = np.frombuffer(places, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
    return np.diff(np.searchsorted(ends, starts)).astype(np.int64)


def _row(question: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@dataclass
class _Ends:
    """How texts begin and end: their lengths, first and last bytes, and whether that could be white space."""

    sizes: NDArray[np.int64]
    first: NDArray[np.uint8]
    last: NDArray[np.uint8]
    blank_first: NDArray[np.bool_]
    blank_last: NDArray[np.bool_]

    @classmethod
    def of(cls, texts: Any) -> _Ends:
        """Of an arrow array."""
        _valid, places, data = texts.buffers()
        starts = np.frombuffer(places, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        octets = np.frombuffer(data, dtype=np.uint8, count=int(starts[-1])) if starts[-1] else np.zeros(1, np.uint8)
        sizes, begins, ends = np.diff(starts), starts[:-1], starts[1:]
        most = len(octets) - 1
        first, second = octets[np.minimum(begins, most)], octets[np.minimum(begins + 1, most)]
        third, before, last = (octets[np.maximum(ends - back, 0)] for back in (3, 2, 1))
        # U+3000 (E3 80 80) is the only one of its row that is white: the full stop of Chinese (E3 80 82) is not.
        other = (sizes >= 3) & (third == 0xE3) & (last != 0x80)
        blank_last = (last <= 0x20) | (_WHITE[before, last] & ~other)
        return cls(sizes, first, last, (first <= 0x20) | _WHITE[first, second], blank_last)


def _white() -> NDArray[np.bool_]:
    """Which two bytes can begin or end a white space beyond ASCII."""
    table = np.zeros((256, 256), dtype=bool)
    for code in range(0x80, 0x10000):
        if not 0xD800 <= code < 0xE000 and chr(code).isspace():
            octets = chr(code).encode()
            table[octets[0], octets[1]] = table[octets[-2], octets[-1]] = True
    return table


_WHITE = _white()


def _odd(asked: _Ends, answered: _Ends) -> NDArray[np.bool_]:
    """Rows that have to be looked at: an empty text, a list perhaps, an answer that may equal its question."""
    empty = [(one.sizes == 0) | (one.blank_first & one.blank_last) | (one.first == 0x5B) for one in (asked, answered)]
    begin = asked.blank_first | answered.blank_first
    end = asked.blank_last | answered.blank_last
    same = ((asked.first == answered.first) | begin) & ((asked.last == answered.last) | end)
    odd: NDArray[np.bool_] = empty[0] | empty[1] | (same & (begin | end | (asked.sizes == answered.sizes)))
    return odd


def pairs_of(data: bytes, block: Block, parser: Cells, layout: Layout) -> Pairs | None:
    """A block's rows; None where it has to be read row by row."""
    if layout.pair is None or block.last or block.line <= max(parser.skipped, default=0) or b"\0" in data:
        return None
    if not _ends_whole(data):
        return None
    table = _parsed(data, parser)
    if table is None:
        return None
    lines = block.line + np.arange(table.num_rows, dtype=np.int64)
    if block.ends != table.num_rows:  # some rows go over several lines
        more = sum(_line_ends(column.combine_chunks()) for column in table.columns)
        lines[1:] += np.cumsum(more)[:-1]
    questions, answers = (table.column(parser.columns.index(name)).combine_chunks() for name in layout.pair)
    odd = _odd(_Ends.of(questions), _Ends.of(answers))
    dropped: list[tuple[str, int]] = []
    for number in np.flatnonzero(odd):
        record = {name: column[number].as_py() for name, column in zip(parser.columns, table.columns, strict=True)}
        if not any(text.strip() for text in record.values()):
            continue  # a blank row is no row
        try:
            row = convert(record, layout)
        except Unusable as unusable:
            dropped.append((unusable.reason, int(lines[number])))
        else:
            if row != _row(*(record[name] for name in layout.pair)):
                return None
            odd[number] = False  # it only looked so
    plain = np.flatnonzero(~odd)
    if len(plain) < len(lines):
        questions, answers, lines = questions.take(plain), answers.take(plain), lines[plain]
    return Pairs(lines, questions, answers, len(lines) + len(dropped), dropped, layout) if len(lines) else None


def _parsed(data: bytes, parser: Cells) -> Any:
    """The block as an arrow table; None where that is not surely what a reader of rows would make of it."""
    try:
        import pyarrow
        import pyarrow.csv
    except ImportError:
        return None
    names = list(parser.columns)
    # A row of our own at the end: if it comes out as it is, no quotation mark was open there.
    end = (END + parser.delimiter * (len(names) - 1) + "\n").encode()
    try:
        table = pyarrow.csv.read_csv(
            pyarrow.BufferReader(data + end),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + len(end)),
            pyarrow.csv.ParseOptions(delimiter=parser.delimiter, newlines_in_values=True, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()), strings_can_be_null=False),
        )
    except (pyarrow.ArrowException, ValueError):
        return None
    last = table.num_rows - 1
    if last < 1 or table.column(0)[last].as_py() != END:
        return None
    return table.slice(0, last)
