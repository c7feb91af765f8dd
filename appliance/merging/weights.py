"""What stands where in a safetensors file. Whether a file is sound is looked at by `hub.model` before."""

from __future__ import annotations

import json
import math
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from appliance.merging.numbers import STORED, Array


@dataclass(frozen=True)
class Tensor:
    """One tensor: `start` and `end` are bytes from the file's beginning."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def columns(self) -> int:
        """Numbers in a row: the last dimension."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """All dimensions but the last one."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class Shard:
    """A weight file: its tensors in the order of their bytes; `header` as it stands, with its length in front."""

    path: Path
    header: bytes = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return max((tensor.end for tensor in self.tensors), default=len(self.header))


def read(path: Path) -> Shard:
    """Read the header. Raises OSError, ValueError and KeyError for a file that `hub.model` would have refused."""
    with path.open("rb") as file:
        prefix = file.read(8)
        raw = file.read(int.from_bytes(prefix, "little"))
    facts = json.loads(raw)
    facts.pop("__metadata__", None)
    base = len(prefix) + len(raw)
    tensors = [
        Tensor(name, one["dtype"], tuple(one["shape"]), base + one["data_offsets"][0], base + one["data_offsets"][1])
        for name, one in facts.items()
    ]
    return Shard(path, prefix + raw, tuple(sorted(tensors, key=lambda tensor: (tensor.start, tensor.end))))


def with_more(shard: Shard, more: list[tuple[str, str, tuple[int, ...], int]]) -> bytes:
    """A header for the shard's tensors and further ones behind them: (name, dtype, shape, bytes) each."""
    facts: dict[str, Any] = json.loads(shard.header[8:])
    end = shard.size - len(shard.header)
    for name, dtype, shape, size in more:
        facts[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(facts, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data begins at a multiple of 8, as the format asks
    return len(text).to_bytes(8, "little") + text


class Mapped:
    """A file's tensors, mapped: a slice costs memory only while it is looked at."""

    def __init__(self, path: Path):
        self.tensors = {tensor.name: tensor for tensor in read(path).tensors}
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def array(self, tensor: Tensor) -> Array:
        """The tensor's stored numbers (see numbers.STORED), read-only."""
        count = math.prod(tensor.shape)
        flat: Array = np.frombuffer(self._bytes, STORED[tensor.dtype], count, tensor.start)
        return flat.reshape(tensor.shape)
