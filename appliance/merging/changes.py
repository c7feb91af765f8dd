"""What an adapter does to one tensor, a block of rows at a time: each kind as peft computes it.

Sources, read in peft 0.21: tuners/lora/layer.py (Linear, Embedding and ParamWrapper: merge and get_delta_weight),
tuners/lora/dora.py and variants.py (DoraLinearVariant.merge_unsafe), tuners/lora/model.py (add_weighted_adapter).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from appliance.merging import compiled, numbers
from appliance.merging.numbers import Array

# Changes a block in place: stored numbers as (rows, columns), and the number of the first of these rows.
Apply = Callable[[Array, int], None]

# Elements of a product that BLAS is quickest with: it need not bring the halves into another order first.
_PRODUCT = 1 << 15

_scratch = threading.local()


@dataclass(frozen=True)
class Matrix:
    """Stored numbers of an adapter (a view into the mapped file) and their dtype."""

    stored: Array
    dtype: str

    def float32(self) -> Array:
        """All of it."""
        return numbers.quiet(numbers.to_float32(self.stored, self.dtype))

    def rows(self, first: int, last: int) -> Array:
        """Some rows of it."""
        return numbers.quiet(numbers.to_float32(self.stored[first:last], self.dtype))


@dataclass(frozen=True)
class LowRank:
    """weight += scale · left @ right. left (rows, rank), right (rank, columns).

    rounded    the product is rounded to the weight's dtype before it is added: peft does so where it wraps an
               embedding or a bare parameter, but not for a linear layer
    magnitude  DoRA: every row of the sum is then given this length
    """

    left: Matrix
    right: Matrix
    scale: float
    rounded: bool = False
    magnitude: Matrix | None = None

    def open(self, dtype: str) -> Apply:
        """Bring the right half into memory; the left one comes with each block."""
        right, scale = self.right.float32(), np.float32(self.scale)
        if math.frexp(self.scale)[0] == 0.5:  # a power of two: the same bits, and one pass less
            right, scale = right * scale, np.float32(1)
        lengths = self.magnitude.float32().reshape(-1) if self.magnitude is not None else None

        def apply(block: Array, first: int) -> None:
            left = self.left.rows(first, first + len(block))
            if lengths is None:
                _add_product(block, left, right, scale, dtype, self.rounded)
                return
            for some in _few_rows(block):
                delta = _product(left[some], right)
                delta *= scale
                _stretch(block[some], delta, lengths[first + some.start : first + some.stop], dtype)

        return apply


@dataclass(frozen=True)
class Weighted:
    """Several low-rank changes of one weight as one: weight += [left …] @ [weight · scale · right …].

    This is `add_weighted_adapter(combination_type="cat")`, the only combination of peft's that is neither an
    approximation nor leaves anything out. (There the combined adapter is rounded to the model's dtype; here it stays in
    float32, as a single adapter does.)
    """

    parts: tuple[tuple[LowRank, float], ...]

    def open(self, dtype: str) -> Apply:
        """As LowRank.open."""
        right = np.concatenate(
            [part.right.float32() * np.float32(weight) * np.float32(part.scale) for part, weight in self.parts]
        )
        rounded = self.parts[0][0].rounded

        def apply(block: Array, first: int) -> None:
            last = first + len(block)
            left = np.concatenate([part.left.rows(first, last) for part, _weight in self.parts], axis=1)
            _add_product(block, left, right, np.float32(1), dtype, rounded)

        return apply


@dataclass(frozen=True)
class Replace:
    """The adapter holds the whole tensor (modules_to_save, trained biases, embeddings saved along)."""

    values: Matrix

    def open(self, dtype: str) -> Apply:
        """Nothing to bring: each block reads its own rows."""
        same = self.values.dtype == dtype

        def apply(block: Array, first: int) -> None:
            last = first + len(block)
            if same:
                block[:] = self.values.stored[first:last]
            else:
                block[:] = numbers.from_float32(self.values.rows(first, last), dtype)

        return apply


@dataclass(frozen=True)
class AddBias:
    """bias += scale · values, one row."""

    values: Matrix
    scale: float

    def open(self, dtype: str) -> Apply:
        """As LowRank.open."""
        delta = self.values.float32() * np.float32(self.scale)

        def apply(block: Array, _first: int) -> None:
            numbers.add(block.reshape(-1), delta.flatten(), dtype)

        return apply


Step = LowRank | Weighted | Replace | AddBias


@dataclass
class Section:
    """Rows [first, last) of a tensor and what happens to them, in this order; steps count rows from `first`."""

    first: int
    last: int
    steps: list[Step] = field(default_factory=list)


def _few_rows(block: Array) -> Iterator[slice]:
    """As many rows at a time as stay in a core's own cache together with their sums."""
    rows = max(1, numbers.PIECE // block.shape[1])
    for start in range(0, len(block), rows):
        yield slice(start, min(start + rows, len(block)))


def _add_product(block: Array, left: Array, right: Array, scale: np.float32, dtype: str, rounded: bool) -> None:
    rounded = rounded and dtype != "F32"
    if compiled.add_low_rank(block, left, right, float(scale), dtype, rounded):
        return
    for some in _few_rows(block):
        delta = _product(left[some], right)
        if scale != 1:
            delta *= scale
        if rounded:
            delta = numbers.to_float32(numbers.from_float32(delta, dtype), dtype)
        numbers.add(block[some].reshape(-1), delta.reshape(-1), dtype)


def _product(left: Array, right: Array) -> Array:
    """left @ right in this thread's own memory, good until its next call.

    BLAS sums the products of one element in the order of the ranks, each added with one rounding, as the one of torch
    does: the same bits (up to rank 256; above, both split the sum, at different places). A row alone
    would be done another way, as a vector's product, with other bits: so it is done twice.
    """
    if len(left) == 1:
        return _product(np.concatenate([left, left]), right)[:1]
    columns = right.shape[1]
    size = len(left) * columns
    held = getattr(_scratch, "memory", None)
    if held is None or held.size < size:
        held = _scratch.memory = np.empty(size, np.float32)
    into: Array = held[:size].reshape(len(left), columns)
    # Some rows at a time, through which numpy goes in one step.
    few = max(2, _PRODUCT // columns)
    whole = len(left) // few * few
    if whole:
        np.matmul(left[:whole].reshape(-1, few, left.shape[1]), right, out=into[:whole].reshape(-1, few, columns))
    if whole < len(left):
        rest = min(whole, len(left) - 2)
        np.matmul(left[rest:], right, out=into[rest:])
    return into


def _stretch(block: Array, delta: Array, lengths: Array, dtype: str) -> None:
    """DoRA: (weight + delta), every row scaled to its length."""
    delta += numbers.to_float32(block, dtype)
    delta *= (lengths / row_norms(delta))[:, None]
    block[:] = numbers.from_float32(delta, dtype)


def row_norms(values: Array) -> Array:
    """The rows' lengths, summed as torch.linalg.norm(dim=1) does: eight running sums, then these, then what is left
    (that with fused multiply-add, which float64 stands in for).

    Source: aten/src/ATen/native/cpu/ReduceOpsKernel.cpp, norm_kernel_tensor_iterator_impl.
    """
    squares = values * values
    whole = squares.shape[1] // 8 * 8
    lanes = np.add.reduce(squares[:, :whole].reshape(len(squares), -1, 8), axis=1)
    for number in range(1, 8):
        lanes[:, 0] += lanes[:, number]
    total: Array = lanes[:, 0].copy()
    for column in range(whole, squares.shape[1]):
        total = (total + values[:, column].astype(np.float64) ** 2).astype(np.float32)
    return np.sqrt(total)
