"""float32, float16 and bfloat16 as numpy can do them: it has no bfloat16, which is the upper half of a float32."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WIDTH = {"F32": 4, "F16": 2, "BF16": 2}
# How a tensor's bytes are looked at: 16-bit numbers as their bits.
STORED: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<u2"), "BF16": np.dtype("<u2")}
# Elements that are worked on at once: all passes over them stay in a core's own cache.
PIECE = 1 << 16
# numpy finds its way faster to numbers that are its own.
_UPPER, _HALF, _NOTHING = np.uint32(16), np.uint32(0x8000), np.uint16(0)

_scratch = threading.local()


def quiet(values: Array) -> Array:
    """The same float32 numbers, with every NaN that of the processor itself: its lower half is zero."""
    if values.size and np.isnan(np.min(values)):
        values[np.isnan(values)] = np.nan
    return values


def to_float32(stored: Array, dtype: str) -> Array:
    """Stored numbers (STORED[dtype], any shape) as a new float32 array."""
    if dtype == "BF16":
        bits = stored.astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    if dtype == "F16":
        return stored.view(np.float16).astype(np.float32)
    return stored.astype(np.float32)


def from_float32(values: Array, dtype: str) -> Array:
    """float32 as stored numbers, rounded once to the nearest, ties to even; NaN stays NaN, too large is infinity."""
    if dtype == "F32":
        return np.ascontiguousarray(values, "<f4")
    out = np.empty(values.shape, "<u2")
    flat, into = np.ascontiguousarray(values, np.float32).reshape(-1), out.reshape(-1)
    sums = _memory()[0]
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        np.copyto(sums[: piece.size].view(np.float32), piece)
        quiet(sums[: piece.size].view(np.float32))
        _round(sums[: piece.size], into[start : start + PIECE], dtype)
    return out


def add(stored: Array, delta: Array, dtype: str) -> None:
    """stored += delta in place, both flat: the sum in float32, rounded once. `delta` is float32, its NaNs quiet; its
    memory is used for the sums."""
    if dtype == "F32":
        stored += delta
        return
    memory = _memory()[0]
    for start in range(0, stored.size, PIECE):
        piece, sums = stored[start : start + PIECE], delta[start : start + PIECE]
        bits = memory[: piece.size]
        as_floats = bits.view(np.float32)
        if dtype == "BF16":
            np.copyto(bits, piece)
            bits <<= _UPPER
        else:
            np.copyto(as_floats, piece.view(np.float16))
        sums += as_floats
        _round(sums.view(np.uint32), piece, dtype)


def _memory() -> Array:
    """Two rows of a piece's numbers, this thread's own: to allocate them costs more than the sums."""
    held: Array | None = getattr(_scratch, "memory", None)
    if held is None:
        held = _scratch.memory = np.empty((2, PIECE), np.uint32)
    return held


def _round(sums: Array, into: Array, dtype: str) -> None:
    """The bits of at most a piece of float32 numbers (changed) as 16-bit ones.

    bfloat16: half of the last place is added, then the lower half dropped. A tie, which leaves nothing below, must end
    even; there is one in 65536. (Of a NaN with bits in the lower half this might make a zero; see `quiet`.)
    """
    if dtype == "F16":
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(into.view(np.float16), sums.view(np.float32), casting="same_kind")
        return
    sums += _HALF
    memory = _memory()[1]
    below, tied = memory.view(np.uint16)[: sums.size], memory.view(np.bool_)[2 * PIECE :][: sums.size]
    np.copyto(below, sums, casting="same_kind")
    sums >>= _UPPER  # and a cast: twice as fast as taking every second 16-bit number
    np.copyto(into, sums, casting="same_kind")
    np.equal(below, _NOTHING, out=tied)
    ties = tied.nonzero()[0]
    if ties.size:
        into[ties] &= 0xFFFE
