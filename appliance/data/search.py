"""Where some bytes stand in a whole batch of texts: numpy is several times as quick at it as `bytes.find`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Octets = NDArray[np.uint8]


def places(octets: Octets, needle: bytes) -> NDArray[np.int64]:
    """The places where a needle begins; quick where its first two bytes are rare."""
    last = max(0, len(octets) - len(needle) + 1)
    fits = octets[:last] == needle[0]
    if len(needle) > 1:
        fits &= octets[1 : last + 1] == needle[1]
    found = np.flatnonzero(fits)
    for offset, byte in enumerate(needle[2:], 2):
        found = found[octets[found + offset] == byte]
    return found


def count(octets: Octets, needle: bytes) -> int:
    """How often one or two bytes stand there."""
    fits = octets == needle[0]
    return int(np.count_nonzero(fits if len(needle) == 1 else fits[:-1] & (octets[1:] == needle[1])))


def runs(octets: Octets, byte: int) -> NDArray[np.int64]:
    """Places of which each lies in a run of at least 12 equal bytes; every run of 16 or more has one."""
    four = octets[: len(octets) // 4 * 4].view(np.uint32) == byte * 0x01010101
    return np.flatnonzero(four[:-2] & four[1:-1] & four[2:]) * 4
