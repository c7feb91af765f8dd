"""What a weight file will consist of, cut into blocks, and how a block is made: read, then changed where it changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from appliance.locale import _
from appliance.merging.changes import Apply, Section
from appliance.merging.numbers import STORED, WIDTH, Array

# Of 1, 2, 4 and 8 MiB this was the fastest: few hand-overs, and yet a core's own cache holds it.
BLOCK_BYTES = 2**21


@dataclass(frozen=True)
class Part:
    """Bytes of an output file: some of a source file as they are, or one tensor with changes.

    source    None for a tensor that the base does not have: its sections replace all of it
    start     where it begins in the source
    """

    source: Path | None
    start: int
    size: int
    dtype: str = ""
    columns: int = 0
    sections: tuple[Section, ...] = ()

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return self.columns * WIDTH.get(self.dtype, 1)


@dataclass(frozen=True)
class Output:
    """A weight file to be written: its header, then its parts, one behind the other."""

    name: str
    header: bytes = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.header) + sum(part.size for part in self.parts)

    @property
    def largest_block(self) -> int:
        """Bytes: no block is larger."""
        return max(BLOCK_BYTES, *(part.row for part in self.parts if part.sections), 0)


@dataclass(frozen=True)
class Piece:
    """Of an output file: `at` there, `start` in the source; `section` changes its rows, from `first` on.

    source   None where the base has nothing here: `raw` is all of it, or the section's first step writes it
    section  None: the bytes stay as they are
    """

    at: int
    size: int
    source: Path | None = None
    start: int = 0
    dtype: str = ""
    columns: int = 0
    section: Section | None = None
    first: int = 0
    raw: bytes = field(default=b"", repr=False)


Block = list[Piece]


def blocks(output: Output) -> Iterator[Block]:
    """All of an output in order: pieces one behind the other, together of at most BLOCK_BYTES (or a single row)."""
    block: Block = []
    for piece in _pieces(output):
        if block and piece.at + piece.size - block[0].at > BLOCK_BYTES:
            yield block
            block = []
        block.append(piece)
    yield block


def _pieces(output: Output) -> Iterator[Piece]:
    """Of whole rows, and never across two sections, where there are changes."""
    for at in range(0, len(output.header), BLOCK_BYTES):
        raw = output.header[at : at + BLOCK_BYTES]
        yield Piece(at, len(raw), raw=raw)
    at = len(output.header)
    for part in output.parts:
        if not part.sections:
            for offset in range(0, part.size, BLOCK_BYTES):
                yield Piece(at + offset, min(BLOCK_BYTES, part.size - offset), part.source, part.start + offset)
        for section in part.sections:
            rows = max(1, BLOCK_BYTES // part.row)
            for first in range(section.first, section.last, rows):
                size = (min(first + rows, section.last) - first) * part.row
                offset = first * part.row
                yield Piece(
                    at + offset, size, part.source, part.start + offset, part.dtype, part.columns, section,
                    first - section.first,
                )  # fmt: skip
        at += part.size


class Reader:
    """Brings what the sources have; keeps the one open that it reads."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._source = -1

    def close(self) -> None:
        """Nothing is read any more."""
        if self._path is not None:
            os.close(self._source)
            self._path = None

    def read(self, block: Block, into: Array) -> None:
        """`into` (bytes) then holds what the sources have there."""
        for piece in block:
            start = piece.at - block[0].at
            place = into[start : start + piece.size]
            if piece.raw:
                place[:] = np.frombuffer(piece.raw, np.uint8)
            if piece.source is not None:
                self._read(piece.source, place.data, piece.start)

    def _read(self, path: Path, into: memoryview, at: int) -> None:
        if path != self._path:
            self.close()
            self._source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        done = 0
        while done < len(into):
            count = os.preadv(self._source, [into[done:]], at + done)
            if count == 0:
                raise OSError(errno.EIO, _("the file became shorter while it was read"), str(path))
            done += count


class Changer:
    """Changes what changes; keeps what the section that it is in needs."""

    def __init__(self) -> None:
        self._section: Section | None = None
        self._applies: list[Apply] = []

    def change(self, block: Block, made: Array) -> None:
        """`made` (bytes) then holds what belongs into the output."""
        for piece in block:
            if piece.section is None:
                continue
            if piece.section is not self._section:
                self._section = piece.section
                self._applies = [step.open(piece.dtype) for step in piece.section.steps]
            start = piece.at - block[0].at
            rows = made[start : start + piece.size].view(STORED[piece.dtype]).reshape(-1, piece.columns)
            for apply in self._applies:
                apply(rows, piece.first)
