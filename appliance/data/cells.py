"""Where the cells of a delimited table stand in a block, found for all rows at once.

Cells are read as Python's csv module reads them. A quotation mark counts where it opens a cell, and from there on to
the one that closes it; in between two in a row mean one. So of all marks that count the odd ones (from 1) open and the
even ones close, and a text with such marks in it is several pieces of the block: each ends with the first mark of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.data.search import Octets, Places, any_byte

_LF, _CR, _MARK = 10, 13, ord('"')
_CONTROLS = 14  # bytes below are NUL, LF, CR and some that mean nothing here


@dataclass
class Cut:
    """The rows of a block, its cells from row to row, and the pieces of their texts.

    Arrays have an entry for each row (`rows`: where each begins, and the last ends; `lines`: line ends before it;
    `first`: its first cell; `widths`: how many cells), for each cell (`piece`: its first piece; `counts`: how many;
    `sizes`: bytes of its text) or for each piece (`begins` and `ends` in the block).
    """

    rows: Places
    lines: Places
    first: Places
    widths: Places
    piece: Places
    counts: Places
    sizes: Places
    begins: Places
    ends: Places


def cut(octets: Octets, delimiter: int) -> Cut | None:
    """The cells of a block of whole rows; None where only a reader of rows can tell."""
    if octets[-1] != _LF:
        return None
    places = any_byte(octets, _CONTROLS, _MARK, delimiter)
    kinds = octets[places]
    returns = places[kinds == _CR]
    # Line ends of other systems, and what csv readers do not agree about.
    if not kinds.all() or (octets[returns + 1] != _LF).any():
        return None
    marked = kinds == _MARK
    marks = places[marked]
    if not _in_pairs(octets, marks, delimiter):
        counting = _counting(octets, marks, delimiter)
        if counting is None:
            return None
        marked[marked] = counting
        marks = marks[counting]
    before = np.cumsum(marked)
    feeds = kinds == _LF
    outside = (feeds | (kinds == delimiter)) & (before & 1 == 0)
    stops, ending, before = places[outside], feeds[outside], before[outside]
    starts = np.concatenate([[0], stops[:-1] + 1])
    last = np.flatnonzero(ending)
    first = np.concatenate([[0], last[:-1] + 1])
    lines = np.concatenate([[0], np.cumsum(feeds)[outside][last[:-1]]])
    stops = stops - (ending & (octets[stops - 1] == _CR))
    counts = np.diff(before, prepend=0) // 2
    quoted = counts > 0
    counts[~quoted] = 1
    begins, ends = starts, stops
    if len(marks):
        within = np.repeat(quoted, counts)
        opens, closes = marks[::2], marks[1::2]
        begins, ends = np.empty(len(within), dtype=np.int64), np.empty(len(within), dtype=np.int64)
        begins[~within], ends[~within] = starts[~quoted], stops[~quoted]
        begins[within], ends[within] = opens + 1, closes + (octets[closes + 1] == _MARK)
    piece = np.cumsum(counts) - counts
    sizes = np.add.reduceat(ends - begins, piece)
    rows = np.concatenate([starts[first], [len(octets)]])
    return Cut(rows, lines, first, last - first + 1, piece, counts, sizes, begins, ends)


def _in_pairs(octets: Octets, marks: Places, delimiter: int) -> bool:
    """Whether all of these quotation marks count: each opens a cell, closes one, or is one of two in a row."""
    if len(marks) % 2:
        return False
    before, after = octets[marks[::2] - 1], octets[marks[1::2] + 1]  # before the first byte stands the last, a line end
    return bool((_any(before, delimiter, _LF, _MARK)).all() and _any(after, delimiter, _LF, _CR, _MARK).all())


def _any(octets: Octets, *wanted: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.logical_or.reduce([octets == byte for byte in wanted])
    return found


def _counting(octets: Octets, marks: Places, delimiter: int) -> NDArray[np.bool_] | None:
    """Which quotation marks count, where others stand within texts; None where a cell goes on behind its last one."""
    counts = np.zeros(len(marks), dtype=bool)
    double = (np.diff(marks, append=-1) == 1).tolist()
    opening, closing = (
        _any(octets[marks - 1], delimiter, _LF).tolist(),
        _any(octets[marks + 1], delimiter, _LF, _CR).tolist(),
    )
    number = 0
    while number < len(marks):
        begin = number
        if opening[number]:
            number += 1
            while number < len(marks) and double[number]:
                number += 2
            if number == len(marks) or not closing[number]:
                return None
            counts[begin : number + 1] = True
        number += 1
    return counts
