"""float32, float16 and bfloat16 as numpy can do them: it has no bfloat16, which is the upper half of a float32."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WIDTH = {"F32": 4, "F16": 2, "BF16": 2}
# How a tensor's bytes are looked at: 16-bit numbers as their bits.
STORED: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<u2"), "BF16": np.dtype("<u2")}
# Elements that are worked on at once: several passes over them stay in a core's own cache.
_PIECE = 1 << 16


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
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        into[start : start + _PIECE] = _halves(piece) if dtype == "F16" else _bfloat16(piece.view(np.uint32).copy())
    return out


def add(stored: Array, delta: Array, dtype: str) -> None:
    """stored += delta in place, both flat: the sum in float32, rounded once. `delta` is float32."""
    if dtype == "F32":
        stored += delta
        return
    bits = np.empty(min(_PIECE, stored.size), np.uint32)
    for start in range(0, stored.size, _PIECE):
        piece = stored[start : start + _PIECE]
        if dtype == "F16":
            piece[:] = _halves(to_float32(piece, dtype) + delta[start : start + _PIECE])
            continue
        sums = bits[: piece.size]
        np.copyto(sums, piece)
        sums <<= 16
        as_floats = sums.view(np.float32)
        as_floats += delta[start : start + _PIECE]
        piece[:] = _bfloat16(sums)


def _bfloat16(bits: Array) -> Array:
    """The bits of float32 numbers (changed) as those of bfloat16: half of the last place is added, then the lower half
    dropped. Just under half where the last place is even, so that ties stay there."""
    # Of a NaN the addition might make an infinity or a zero. The smallest of the numbers is NaN if one of them is.
    floats = bits.view(np.float32)
    lost = np.isnan(floats) if np.isnan(np.min(floats, initial=np.inf)) else None
    last = bits >> 16
    last &= 1
    last += 0x7FFF
    bits += last
    bits >>= 16  # and a cast: twice as fast as taking every second 16-bit number
    upper: Array = bits.astype("<u2")
    if lost is not None:
        upper[lost] = 0x7FC0
    return upper


def _halves(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).view("<u2")
