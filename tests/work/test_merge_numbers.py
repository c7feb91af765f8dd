"""16-bit numbers to float32 and back, and the sums that torch makes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.merging import changes, numbers

quick = hypothesis_settings(max_examples=200, deadline=None, database=None)
sixteen = hnp.arrays(np.uint16, st.integers(0, 64), elements=st.integers(0, 0xFFFF))


@quick
@given(sixteen)
def test_sixteen_bits_there_and_back(bits: np.ndarray) -> None:
    """Every 16-bit number comes back as itself; NaN as some NaN."""
    for dtype, quiet in (("BF16", 0x7F80), ("F16", 0x7C00)):
        back = numbers.from_float32(numbers.to_float32(bits, dtype), dtype)
        nan = (bits & 0x7FFF) > quiet
        assert (back[~nan] == bits[~nan]).all()
        assert ((back[nan] & 0x7FFF) > quiet).all()


@quick
@given(
    hnp.arrays(np.uint32, st.integers(1, 32), elements=st.integers(0, 0xFFFF)),
    st.sampled_from([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]),
)
def test_bfloat16_is_the_nearest(upper: np.ndarray, lower: int) -> None:
    """No neighbour is nearer; of two that are equally near, the even one."""
    values = ((upper << 16) | lower).astype(np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    bits = numbers.from_float32(values, "BF16").astype(np.int64)
    inside = (bits & 0x7FFF) < 0x7F7F
    values, bits = values[inside].astype(np.float64), bits[inside]

    def number(pattern: np.ndarray) -> np.ndarray:
        return (pattern.astype(np.uint32) << 16).view(np.float32).astype(np.float64)

    off = np.abs(values - number(bits))
    for neighbour in (bits + 1, np.where((bits & 0x7FFF) == 0, bits, bits - 1)):
        other = np.abs(values - number(neighbour))
        assert (off <= other).all()
        tie = (off == other) & (neighbour != bits) & (off > 0)
        assert (bits[tie] % 2 == 0).all()


@quick
@given(sixteen, st.floats(width=32, allow_nan=False), st.sampled_from(["BF16", "F16"]))
def test_adding_in_place_is_adding_in_float32(bits: np.ndarray, delta: float, dtype: str) -> None:
    delta32 = np.full(bits.shape, delta, np.float32)
    changed = bits.copy()
    with np.errstate(all="ignore"):
        numbers.add(changed, delta32.copy(), dtype)
        expected = numbers.from_float32(numbers.to_float32(bits, dtype) + delta32, dtype)
    quiet = 0x7F80 if dtype == "BF16" else 0x7C00
    nan = (expected & 0x7FFF) > quiet
    assert (changed[~nan] == expected[~nan]).all() and ((changed[nan] & 0x7FFF) > quiet).all()


@pytest.mark.parametrize("rank", [3, 16, 64])
def test_rows_have_the_same_bits_however_they_are_cut(rank: int) -> None:
    chance = np.random.default_rng(rank)
    left, right = chance.standard_normal((9, rank), np.float32), chance.standard_normal((rank, 40_000), np.float32)
    weight = numbers.from_float32(chance.standard_normal((9, 40_000), np.float32), "BF16")
    expected = weight.copy()
    numbers.add(expected.reshape(-1), np.matmul(left, right).reshape(-1), "BF16")
    change = changes.LowRank(changes.Matrix(left, "F32"), changes.Matrix(right, "F32"), 1.0).open("BF16")
    for cuts in ((0, 9), (0, 4, 8, 9), (0, 1, 9)):
        made = weight.copy()
        for first, last in itertools.pairwise(cuts):
            change(made[first:last], first)
        assert np.array_equal(made, expected)
