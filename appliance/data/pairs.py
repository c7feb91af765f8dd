"""The plainest of large tables, with a question and an answer in each row, by columns instead of by rows.

A block is parsed and searched by libraries that work on whole columns (pyarrow, numpy), in a third of the time. What is
out of the ordinary is not judged here: a row that may be left out is handed on as it was read, and a block with a
title, damage or a row of another width is read row by row, like any other. Both ways give the same findings.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from appliance.data.blocks import Block
from appliance.data.columns import Columns, Ends, joined, numbers
from appliance.data.formats import Recogniser
from appliance.data.parse import END, Cells
from appliance.data.rows import Row, Unusable
from appliance.data.search import Places
from appliance.data.texts import ROLE, Texts

_MARKS = ("user\x1e", "\x1eassistant\x1e", "\x1e\x1d", "")  # around a question and an answer, see `texts.flat`


@cache
def _marks() -> list[Any]:
    """The same for arrow, which looks for pandas each time when it makes a value."""
    import pyarrow

    return [pyarrow.scalar(mark) for mark in _MARKS]


def _texts(questions: Any, answers: Any) -> Texts:
    """The rows' flat texts."""
    import pyarrow.compute as compute

    first, middle, last, nothing = _marks()
    whole, starts = joined(first, questions, middle, answers, last, nothing)
    asked, answered = (numbers(compute.utf8_length(part)) for part in (questions, answers))
    begins = starts[:-1] + ROLE
    ends = begins + numbers(compute.binary_length(questions))
    behind, after = len(_MARKS[1]), len(_MARKS[2])

    def written(number: int) -> str:
        end = ends[number]
        asking, answering = whole[begins[number] : end], whole[end + behind : starts[number + 1] - after]
        return f"{asking.decode()}\n{answering.decode()}"

    octets = np.diff(starts) - sum(map(len, _MARKS))
    return Texts(whole, starts, begins, asked + answered, octets, written)


def _ends_whole(data: bytes) -> bool:
    """Whether every CR stands before a LF."""
    if b"\r" not in data:
        return True
    octets = np.frombuffer(data, dtype=np.uint8)
    places = np.flatnonzero(octets == 13) + 1
    return bool(places[-1] < len(octets) and (octets[places] == 10).all())


def _line_ends(texts: Any) -> Places:
    """How many line ends each text has."""
    _valid, places, data = texts.buffers()
    starts = np.frombuffer(places, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
    return np.diff(np.searchsorted(ends, starts)).astype(np.int64)


def pairs_of(data: bytes, block: Block, parser: Cells, recogniser: Recogniser) -> Columns | None:
    """A block's rows; None where it has to be read row by row."""
    if block.last or block.line <= max(parser.skipped, default=0) or b"\0" in data or not _ends_whole(data):
        return None
    if b"<img>" in data:  # a question may show a picture
        return None
    try:
        layout = recogniser.layout(dict.fromkeys(parser.columns, ""))
    except Unusable:
        return None
    if layout.pair is None:
        return None
    table = _parsed(data, parser)
    if table is None:
        return None
    lines = block.line + np.arange(table.num_rows, dtype=np.int64)
    if block.ends != table.num_rows:  # some rows go over several lines
        more = sum(_line_ends(column.combine_chunks()) for column in table.columns)
        lines[1:] += np.cumsum(more)[:-1]
    questions, answers = (table.column(parser.columns.index(name)).combine_chunks() for name in layout.pair)
    asked, answered = Ends.of(questions), Ends.of(answers)
    odd = asked.perhaps_blank | answered.perhaps_blank | asked.perhaps_same(answered)
    sizes = [len(name.encode()) for name in layout.pair]
    odd |= (asked.sizes == sizes[0]) & (answered.sizes == sizes[1])  # the headers once more, perhaps
    odd |= (asked.first == ord("[")) | (answered.first == ord("["))  # a list, perhaps
    rest: tuple[list[int], list[Any]] = [], []
    for number in np.flatnonzero(odd).tolist():
        record = {name: column[number].as_py() for name, column in zip(parser.columns, table.columns, strict=True)}
        if any(text.strip() for text in record.values()):  # a blank row is no row
            rest[0].append(int(lines[number]))
            rest[1].append(record)
    plain = np.flatnonzero(~odd)
    if not len(plain):
        return None
    if len(plain) < len(lines):
        questions, answers, lines = questions.take(plain), answers.take(plain), lines[plain]

    def row(number: int) -> Row:
        said = (("user", questions), ("assistant", answers))
        return {"messages": [{"role": role, "content": texts[number].as_py()} for role, texts in said]}

    return Columns(lines, _texts(questions, answers), row, layout.format, rest)


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
