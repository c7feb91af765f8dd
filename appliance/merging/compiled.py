"""The sum that a merge consists of, compiled: a third of numpy's time, and Python's lock is free meanwhile.

`make setup` builds low_rank.c where there is a C compiler; the images have it. Without it numpy makes the same bits.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from appliance.merging.numbers import STORED, Array

LIBRARY = Path(__file__).with_name("low_rank.so")

# Above it BLAS, and with it peft, sums the products in another order.
_RANK = 256


class _Sum(ctypes.Structure):
    """`struct sum` of low_rank.c."""

    _fields_ = (
        ("stored", ctypes.c_void_p), ("left", ctypes.c_void_p), ("right", ctypes.c_void_p), ("rows", ctypes.c_size_t),
        ("columns", ctypes.c_size_t), ("rank", ctypes.c_size_t), ("scale", ctypes.c_float), ("bfloat16", ctypes.c_int),
        ("rounded", ctypes.c_int),
    )  # fmt: skip


@functools.cache
def _library() -> Callable[[object], int] | None:
    try:
        library = ctypes.CDLL(str(LIBRARY))
        # Of an older source, what it is given may be laid out otherwise.
        if ctypes.c_size_t.in_dll(library, "sum_size").value != ctypes.sizeof(_Sum):
            return None
        return library.add_low_rank  # type: ignore[no-any-return]
    except (OSError, ValueError):  # not built, for another kind of machine, something else
        return None


def add_low_rank(block: Array, left: Array, right: Array, scale: float, dtype: str, rounded: bool = False) -> bool:
    """block += scale · left @ right in place, rounded once; False where it can't, and then nothing was changed.

    block        (rows, columns) of stored numbers, one row behind the other
    left, right  (rows, rank) and (rank, columns), float32, their NaNs quiet (see `numbers.quiet`)
    rounded      the product is rounded to bfloat16 before it is added
    """
    function = _library()
    if function is None or dtype not in ("BF16", "F32") or left.shape[1] > _RANK:
        return False
    left, right = (np.require(half, np.float32, ["C", "A"]) for half in (left, right))
    # C would read and write beside them.
    assert block.flags.c_contiguous and block.flags.writeable and block.dtype == STORED[dtype]
    assert block.shape == (left.shape[0], right.shape[1]) and left.shape[1] == right.shape[0]
    given = _Sum(
        block.ctypes.data, left.ctypes.data, right.ctypes.data, *block.shape, left.shape[1], scale, dtype == "BF16",
        rounded,
    )  # fmt: skip
    return bool(function(ctypes.byref(given)))
