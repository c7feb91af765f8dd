"""Where some bytes stand in a whole batch of texts: numpy is several times as quick at it as `bytes.find`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Octets = NDArray[np.uint8]


def places(octets: Octets, needle: bytes) -> NDArray[np.int64]:
    """The places where a needle begins; quick where its first byte is rare."""
    found = np.flatnonzero(octets[: max(0, len(octets) - len(needle) + 1)] == needle[0])
    for offset, byte in enumerate(needle[1:], 1):
        found = found[octets[found + offset] == byte]
    return found
