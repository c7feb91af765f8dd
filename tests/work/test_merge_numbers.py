"""16-bit numbers to float32 and back, and the sums that torch makes."""

from __future__ import annotations

import _ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.merging import changes, compiled, numbers, stream

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


@pytest.fixture(scope="module")
def compiler_made_it() -> None:
    assert compiled._library(), (
        "make setup builds it of its newest source where there is a C compiler: the gate has one"
    )


def in_numpy(step: changes.Step, weight: np.ndarray, dtype: str) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiled, "add_low_rank", lambda *_given: False)
        made = weight.copy()
        step.open(dtype)(made, 0)
    return made


@pytest.mark.usefixtures("compiler_made_it")
@quick
@given(
    rows=st.integers(1, 11), columns=st.sampled_from([16, 32, 48, 64, 80, 128, 192, 1040]), rank=st.integers(1, 40),
    scale=st.sampled_from([1.0, 2.0, 0.5, 1.7, -0.3]), dtype=st.sampled_from(["BF16", "F32"]),
    rare=st.sampled_from([None, np.nan, np.inf, -np.inf, 3e38, 1e-40, -0.0]), seed=st.integers(0, 2**32 - 1),
    rounded=st.booleans(),
)  # fmt: skip
def test_the_compiled_sum_has_the_bits_of_numpys(
    rows: int, columns: int, rank: int, scale: float, dtype: str, rare: float | None, seed: int, rounded: bool
) -> None:
    chance = np.random.default_rng(seed)
    left, right = chance.standard_normal((rows, rank), np.float32), chance.standard_normal((rank, columns), np.float32)
    values = chance.standard_normal((rows, columns), np.float32)
    if rare is not None:
        for some in (left, right, values):
            some.reshape(-1)[chance.integers(0, some.size, 2)] = rare
    with np.errstate(all="ignore"):
        weight = numbers.from_float32(values, dtype)
        step = changes.LowRank(changes.Matrix(left, "F32"), changes.Matrix(right, "F32"), scale, rounded)
        made = weight.copy()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(changes, "_product", None)  # what numpy would begin with
            step.open(dtype)(made, 0)
        expected = in_numpy(step, weight, dtype)
        odd = np.frombuffer(b"-" + weight.tobytes(), np.uint8).copy()[1:].view(weight.dtype).reshape(weight.shape)
        step.open(dtype)(odd, 0)  # as in a file whose header has an odd length
    assert np.array_equal(odd.view(np.uint8), made.view(np.uint8))
    # Of two NaNs that meet, either may go on.
    neither = np.isnan(numbers.to_float32(made, dtype)) & np.isnan(numbers.to_float32(expected, dtype))
    assert ((made.view(np.uint8) == expected.view(np.uint8)).reshape(*made.shape, -1).all(axis=-1) | neither).all()


@pytest.mark.usefixtures("compiler_made_it")
@pytest.mark.parametrize(("columns", "rank", "dtype"), [(24, 8, "BF16"), (64, 257, "BF16"), (64, 8, "F16")])
def test_what_the_compiled_sum_is_not_made_for_stays_as_it_was(columns: int, rank: int, dtype: str) -> None:
    chance = np.random.default_rng(1)
    left, right = chance.standard_normal((5, rank), np.float32), chance.standard_normal((rank, columns), np.float32)
    weight = numbers.from_float32(chance.standard_normal((5, columns), np.float32), dtype)
    made = weight.copy()
    assert not compiled.add_low_rank(made, left, right, 1.0, dtype)
    assert np.array_equal(made, weight)


@pytest.fixture
def another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the sources, from which the sum would be taken."""
    for path in (*compiled.LIBRARY.parent.glob("low_rank.[ch]"), compiled.LIBRARY.with_name("compile.sh")):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(compiled, "LIBRARY", tmp_path / compiled.LIBRARY.name)
    compiled._library.cache_clear()
    yield tmp_path
    compiled._library.cache_clear()


def build(folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [folder / "compile.sh"], env={"PATH": os.defpath, **variables}, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_a_library_of_an_older_source_is_never_called(another_library: Path) -> None:
    source = another_library / "low_rank.c"
    text = source.read_text()
    assert text.count("    int rounded;") == 1
    source.write_text(text.replace("    int rounded;", "    char *more; int rounded;"))
    assert build(another_library) == "" and compiled.LIBRARY.exists() and not compiled._library()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", Path(_ctypes.__file__).read_bytes()], ids=["", "torn", "other"])
def test_what_is_not_the_library_is_never_called(another_library: Path, content: bytes) -> None:
    compiled.LIBRARY.write_bytes(content)
    assert not compiled._library()


@pytest.mark.parametrize(("compiler", "said"), [("no-such-one", "no C compiler"), ("false", "could not be compiled")])
def test_without_a_compiler_that_works_a_merge_only_takes_longer(
    another_library: Path, compiler: str, said: str
) -> None:
    assert said in build(another_library, CC=compiler)
    assert {path.name for path in another_library.iterdir()} == {"compile.sh", "low_rank.c", "low_rank.h"}
    assert not compiled._library()


def test_two_builds_at_once(another_library: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda compiler: build(another_library, CC=compiler), ["cc", "env cc"] * 2)) == [""] * 4
    assert len(list(another_library.iterdir())) == 4 and compiled._library()


@pytest.mark.usefixtures("compiler_made_it")
@pytest.mark.parametrize(("rows", "rank"), [(5, 3), (4, 4)])
def test_the_compiled_sum_never_goes_beside_what_it_is_given(rows: int, rank: int) -> None:
    weight = np.zeros((4, 64), np.uint16)
    with pytest.raises(AssertionError):
        compiled.add_low_rank(weight, np.ones((rows, 3), np.float32), np.ones((rank, 64), np.float32), 1.0, "BF16")
    weight.flags.writeable = False
    with pytest.raises(AssertionError):
        compiled.add_low_rank(weight, np.ones((4, 3), np.float32), np.ones((3, 64), np.float32), 1.0, "BF16")


def test_a_kernel_without_large_pages_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream.mmap, "MADV_HUGEPAGE", 9999, raising=False)
    assert len(stream._memory(1)) == stream._PLACES


def test_a_merge_that_was_put_behind_everything_stays_there() -> None:
    def becomes(before: int) -> int:
        os.sched_setscheduler(0, before, os.sched_param(0))
        stream._second()
        return os.sched_getscheduler(0)

    own = os.sched_getscheduler(0)
    for before, after in ((os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)):
        with ThreadPoolExecutor(1) as thread:  # it is the thread's own
            assert thread.submit(becomes, before).result() == after
    assert os.sched_getscheduler(0) == own
