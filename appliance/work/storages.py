"""Every storage of a step under fake tensors, counted while it lives, and where CUDA's caching allocator would put it.

The allocator is PyTorch's own rule (c10/cuda/CUDACachingAllocator.cpp): sizes in steps of 512 bytes; up to 1 MiB from
segments of 2 MiB, up to 10 MiB from segments of 20 MiB, above that a segment of its own in steps of 2 MiB; the smallest
free block that is large enough is taken and split, and neighbours that are free are joined again.
"""

from __future__ import annotations

import bisect
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

STEP, MIB = 512, 2**20
SMALL, SMALL_SEGMENT, MIDDLE, MIDDLE_SEGMENT, LARGE_STEP = MIB, 2 * MIB, 10 * MIB, 20 * MIB, 2 * MIB


def rounded(size: int) -> int:
    """Bytes that the allocator gives for so many."""
    return max(STEP, -(-size // STEP) * STEP)


class Segments:
    """The caching allocator: `reserved` bytes are asked of the device and never given back."""

    def __init__(self) -> None:
        self.reserved = 0
        self._next = 0
        # Free blocks of small and of large sizes: sorted for the best fit, and by both ends to find neighbours.
        self._free: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        self._starts: dict[int, int] = {}
        self._stops: dict[int, int] = {}

    def take(self, size: int) -> tuple[int, int]:
        """A block of at least `size` (rounded) bytes, as (start, bytes)."""
        small = size <= SMALL
        free = self._free[0 if small else 1]
        place = bisect.bisect_left(free, (size, -1))
        if place < len(free):
            length, start = free[place]
            self._forget(start, length)
        else:
            length = (
                SMALL_SEGMENT if small else MIDDLE_SEGMENT if size < MIDDLE else -(-size // LARGE_STEP) * LARGE_STEP
            )
            # A hole between segments, so that two of them are never neighbours.
            start, self._next = self._next, self._next + length + STEP
            self.reserved += length
        rest = length - size
        if rest >= STEP if small else rest > SMALL:
            self._keep(start + size, rest, small)
            length = size
        return start, length

    def give(self, start: int, length: int, size: int) -> None:
        """That block is free again; `size` is what it was taken for, which decides on its pool."""
        before = self._stops.get(start)
        if before is not None:
            self._forget(before, start - before)
            start, length = before, length + start - before
        after = self._starts.get(start + length)
        if after is not None:
            self._forget(start + length, after)
            length += after
        self._keep(start, length, size <= SMALL)

    def _keep(self, start: int, length: int, small: bool) -> None:
        bisect.insort(self._free[0 if small else 1], (length, start))
        self._starts[start], self._stops[start + length] = length, start

    def _forget(self, start: int, length: int) -> None:
        for free in self._free:
            place = bisect.bisect_left(free, (length, start))
            if place < len(free) and free[place] == (length, start):
                del free[place]
        del self._starts[start], self._stops[start + length]


class Storages(TorchDispatchMode):  # type: ignore[misc]
    """Adds a storage's bytes when it is first seen and takes them off when it is collected.

    allocated, peak  bytes alive now, and at most · parts, peak_parts  the same by label · segments  the allocator
    label            what new storages are called from now on
    """

    def __init__(self) -> None:
        super().__init__()
        self.allocated = self.peak = 0
        self.parts: Counter[str] = Counter()
        self.peak_parts: dict[str, int] = {}
        self.segments = Segments()
        self.label = "activations"
        self._labels: dict[int, str] = {}
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in _pytree.tree_leaves(made):
            if hasattr(tensor, "untyped_storage"):
                self.see(tensor)
        return made

    @contextmanager
    def called(self, label: str) -> Iterator[None]:
        """New storages have that label inside."""
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before

    def see(self, tensor: Any, label: str = "") -> None:
        """Count a tensor's storage, unless it is counted; with a label, it is called so from now on."""
        storage = tensor.untyped_storage()
        number = self._seen.get(storage)
        if number is None:
            self._add(storage, label or self.label)
        elif label and self._labels[number] != label:
            size = rounded(storage.nbytes())
            self.parts[self._labels[number]] -= size
            self.parts[label] += size
            self._labels[number] = label

    def _add(self, storage: Any, label: str) -> None:
        size = storage.nbytes()
        if not size:
            return
        self._number += 1
        number, size = self._number, rounded(size)
        self._seen[storage], self._labels[number] = number, label
        self.parts[label] += size
        self.allocated += size
        if self.allocated > self.peak:
            self.peak, self.peak_parts = self.allocated, dict(self.parts)
        start, length = self.segments.take(size)
        weakref.finalize(storage, self._collected, number, size, start, length).atexit = False

    def _collected(self, number: int, size: int, start: int, length: int) -> None:
        self.parts[self._labels.pop(number)] -= size
        self.allocated -= size
        self.segments.give(start, length, size)
