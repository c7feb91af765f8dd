"""The plainest of large tables, with a question and an answer in each row, by columns instead of by rows.

A block is cut into cells and searched by numpy and pyarrow all at once, in a fifth of the time. What is out of the
ordinary is not judged here: a row that may be left out, or has not the width of the table, is handed on as a reader of
rows reads it, and a block with titles or damage is read row by row. Both ways give the same findings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from appliance.data.blocks import Block
from appliance.data.cells import Cut, cut
from appliance.data.columns import Columns, Ends, is_text, placed
from appliance.data.formats import Recogniser
from appliance.data.parse import Cells
from appliance.data.rows import Row, Unusable
from appliance.data.search import Octets, Places, any_of
from appliance.data.texts import ROLE, Texts, continued

_ROLES = ("user", "assistant")
_MARKS = ("user\x1e", "\x1eassistant\x1e", "\x1e\x1d")  # around a question and an answer, see `texts.flat`
_Said = Callable[[int], tuple[str, str]]


def pairs_of(data: bytes, block: Block, parser: Cells, recogniser: Recogniser) -> Columns | None:
    """A block's rows; None where it has to be read row by row."""
    if block.last or block.line <= max(parser.skipped, default=0) or not parser.delimiter.isascii():
        return None
    try:
        layout = recogniser.layout(dict.fromkeys(parser.columns, ""))
    except Unusable:
        return None
    if layout.pair is None:
        return None
    octets = np.frombuffer(data, dtype=np.uint8)
    found = cut(octets, ord(parser.delimiter))
    if found is None or not is_text(data):
        return None
    if b"<" in data and len(any_of(octets, [b"<img>"])):  # a question may show a picture
        return None
    most = len(found.sizes) - 1
    questions, answers = (np.minimum(found.first + parser.columns.index(name), most) for name in layout.pair)
    asked, answered = (_ends(octets, found, cells) for cells in (questions, answers))
    odd = found.widths != len(parser.columns)
    odd |= asked.perhaps_blank | answered.perhaps_blank | asked.perhaps_same(answered)
    sizes = [len(name.encode()) for name in layout.pair]
    odd |= (asked.sizes == sizes[0]) & (answered.sizes == sizes[1])  # the headers once more, perhaps
    odd |= (asked.first == ord("[")) | (answered.first == ord("["))  # a list, perhaps
    plain = np.flatnonzero(~odd)
    if not len(plain):
        return None
    rest: tuple[list[int], list[Any]] = [], []
    for number in np.flatnonzero(odd).tolist():
        alone = data[found.rows[number] : found.rows[number + 1]]
        parsed = parser(alone, Block(block.line + int(found.lines[number]), 0, 0, 0, None))
        assert parsed is not None
        rest[0].extend(parsed[0])
        rest[1].extend(parsed[1])
    texts, said = _texts(data, found, questions[plain], answers[plain])

    def row(number: int) -> Row:
        return {"messages": [{"role": role, "content": text} for role, text in zip(_ROLES, said(number), strict=True)]}

    return Columns(block.line + found.lines[plain], texts, row, layout.format, rest)


def _ends(octets: Octets, found: Cut, cells: Places) -> Ends:
    """How the texts of these cells begin and end."""
    piece = found.piece[cells]
    return Ends.of(octets, found.begins[piece], found.ends[piece + found.counts[cells] - 1], found.sizes[cells])


def _texts(data: bytes, found: Cut, questions: Places, answers: Places) -> tuple[Texts, _Said]:
    """The flat texts of rows whose questions and answers stand in these cells, and those two of each row."""
    import pyarrow
    import pyarrow.compute as compute

    # All pieces and what stands between them as one arrow array, and behind them our marks: then what is wanted of it.
    marks = [mark.encode() for mark in _MARKS]
    pieces = len(found.begins)
    places = np.empty(2 * pieces + len(marks) + 1, dtype=np.int32)
    places[0 : 2 * pieces : 2], places[1 : 2 * pieces : 2] = found.begins, found.ends
    places[2 * pieces :] = len(data) + np.cumsum([0, *map(len, marks)])
    whole = pyarrow.py_buffer(data + b"".join(marks))
    array = pyarrow.Array.from_buffers(pyarrow.binary(), len(places) - 1, [None, pyarrow.py_buffer(places), whole])
    first = np.empty((len(questions), 5), dtype=np.int64)
    counts = np.ones((len(questions), 5), dtype=np.int64)
    first[:, ::2] = 2 * pieces + np.arange(len(marks))
    for place, cells in ((1, questions), (3, answers)):
        first[:, place], counts[:, place] = 2 * found.piece[cells], found.counts[cells]
    many = counts.ravel()
    begins = np.repeat(first.ravel() - 2 * (np.cumsum(many) - many), many)
    wanted = compute.take(array, placed(begins + 2 * np.arange(len(begins))), boundscheck=False)

    made = wanted.buffers()[2]
    sizes = found.sizes[questions] + found.sizes[answers]
    starts = np.concatenate([[0], np.cumsum(sizes + sum(map(len, marks)))])
    flat = made.slice(0, int(starts[-1])).to_pybytes()
    asked = starts[:-1] + ROLE
    answered = asked + found.sizes[questions] + len(marks[1])

    def said(number: int) -> tuple[str, str]:
        begin, middle, end = asked[number], answered[number], starts[number + 1]
        return flat[begin : middle - len(marks[1])].decode(), flat[middle : end - len(marks[2])].decode()

    texts = Texts(flat, starts, asked, sizes - continued(flat, starts), sizes, lambda number: "\n".join(said(number)))
    return texts, said
