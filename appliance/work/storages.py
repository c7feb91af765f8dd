"""Every storage of a step under fake tensors, counted while it lives."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

# CUDA's caching allocator gives blocks in steps of so many bytes (c10/cuda/CUDACachingAllocator.cpp).
STEP = 512


def rounded(size: int) -> int:
    """Bytes that the allocator gives for so many."""
    return max(STEP, -(-size // STEP) * STEP)


class Storages(TorchDispatchMode):  # type: ignore[misc]
    """Adds a storage's bytes when it is first seen and takes them off when it is collected.

    allocated  bytes alive now · parts  the same by label
    peaks      for each moment the bytes by label when most were alive in it
    moment     what the step is doing from now on · label  what new storages are called from now on
    """

    def __init__(self) -> None:
        super().__init__()
        self.allocated = 0
        self.parts: Counter[str] = Counter()
        self.peaks: dict[str, dict[str, int]] = {}
        self.moment = "before"
        self.label = "activations"
        self._most: Counter[str] = Counter()
        self._labels: dict[int, str] = {}
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in _pytree.tree_leaves(made):
            if hasattr(tensor, "untyped_storage"):
                self.see(tensor)
        return made

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
        if self.allocated > self._most[self.moment]:
            self._most[self.moment], self.peaks[self.moment] = self.allocated, dict(self.parts)
        weakref.finalize(storage, self._collected, number, size).atexit = False

    def _collected(self, number: int, size: int) -> None:
        self.parts[self._labels.pop(number)] -= size
        self.allocated -= size
