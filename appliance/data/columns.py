"""Rows of a block by columns instead of one by one, and what arrow's arrays of texts can tell at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.data.parse import Parsed
from appliance.data.rows import Row
from appliance.data.search import Octets, Places
from appliance.data.texts import Texts


@dataclass
class Columns:
    """The plain rows of a block. The `rest`, as it was read, has to be looked at row by row."""

    lines: Places
    texts: Texts
    row: Callable[[int], Row]  # one of them, by its number, in the internal form
    format: str
    rest: Parsed


@dataclass
class Ends:
    """How texts begin and end: their lengths, first and last bytes, and whether that could be white space."""

    sizes: Places
    first: Octets
    last: Octets
    blank_first: NDArray[np.bool_]
    blank_last: NDArray[np.bool_]

    @classmethod
    def of(cls, octets: Octets, begins: Places, ends: Places, sizes: Places) -> Ends:
        """Of texts that begin and end at these places. What stands between may be less than that, but not whole."""
        most = len(octets) - 1
        first, second = octets[np.minimum(begins, most)], octets[np.minimum(begins + 1, most)]
        third, before, last = (octets[np.maximum(ends - back, 0)] for back in (3, 2, 1))
        # U+3000 (E3 80 80) is the only one of its row that is white: the full stop of Chinese (E3 80 82) is not.
        other = (sizes >= 3) & (third == 0xE3) & (last != 0x80)
        blank_last = (last <= 0x20) | (_WHITE[before, last] & ~other)
        return cls(sizes, first, last, (first <= 0x20) | _WHITE[first, second], blank_last)

    @classmethod
    def of_array(cls, texts: Any) -> Ends:
        """Of an arrow array without gaps."""
        _valid, places, data = texts.buffers()
        starts = np.frombuffer(places, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        octets = np.frombuffer(data, dtype=np.uint8, count=int(starts[-1])) if starts[-1] else np.zeros(1, np.uint8)
        return cls.of(octets, starts[:-1], starts[1:], np.diff(starts))

    def at(self, numbers: Places) -> Ends:
        """Of these texts only."""
        return Ends(
            self.sizes[numbers],
            self.first[numbers],
            self.last[numbers],
            self.blank_first[numbers],
            self.blank_last[numbers],
        )

    @property
    def perhaps_blank(self) -> NDArray[np.bool_]:
        """Texts that are empty or may be white space all through."""
        blank: NDArray[np.bool_] = (self.sizes == 0) | (self.blank_first & self.blank_last)
        return blank

    def perhaps_same(self, other: Ends) -> NDArray[np.bool_]:
        """Where the texts may be those of `other`, apart from white space around them."""
        begin, end = self.blank_first | other.blank_first, self.blank_last | other.blank_last
        alike = ((self.first == other.first) | begin) & ((self.last == other.last) | end)
        same: NDArray[np.bool_] = alike & (begin | end | (self.sizes == other.sizes))
        return same


def _white() -> NDArray[np.bool_]:
    """Which two bytes can begin or end a white space beyond ASCII."""
    table = np.zeros((256, 256), dtype=bool)
    for code in range(0x80, 0x10000):
        if not 0xD800 <= code < 0xE000 and chr(code).isspace():
            octets = chr(code).encode()
            table[octets[0], octets[1]] = table[octets[-2], octets[-1]] = True
    return table


_WHITE = _white()


def numbers(array: Any) -> Places:
    """An arrow array of 32-bit integers without gaps. Its own `to_numpy` looks for pandas each time it is called."""
    begin = array.offset
    return np.frombuffer(array.buffers()[1], dtype=np.int32)[begin : begin + len(array)].astype(np.int64)


def placed(some: Places) -> Any:
    """For arrow, which looks for pandas when it is asked to make an array of one."""
    import pyarrow

    return pyarrow.Array.from_buffers(pyarrow.int64(), len(some), [None, pyarrow.py_buffer(some)])


def is_text(data: bytes) -> bool:
    """Whether these bytes are UTF-8: arrow is four times as quick at it as `bytes.decode`."""
    import pyarrow

    places = pyarrow.py_buffer(np.array([0, len(data)], dtype=np.int32))
    text = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, places, pyarrow.py_buffer(data)])
    try:
        text.validate(full=True)
    except pyarrow.ArrowInvalid:
        return False
    return True


def joined(*parts: Any) -> tuple[bytes, Places]:
    """The texts of several arrow arrays (or values, the same each time), and where each of those made begins."""
    import pyarrow.compute as compute

    made = compute.binary_join_element_wise(*parts)
    _valid, places, data = made.buffers()
    starts = np.frombuffer(places, dtype=np.int32)[: len(made) + 1].astype(np.int64)
    return data.slice(0, int(starts[-1])).to_pybytes(), starts
