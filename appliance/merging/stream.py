"""Weight files written anew: read and changed by all cores in blocks, and hashed in order as they come.

They are written past the page cache: to go through it takes a fifth of a second of a core for every GB, and what lies
there has to be waited for in the end. A load is what goes to the disk at once. In memory it begins with a whole page of
the file, for that is what the kernel asks for: with the bytes that the load before it had over.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from appliance import files
from appliance.merging.changes import Section
from appliance.merging.crew import Block, Crew, Piece
from appliance.merging.numbers import WIDTH, Array

BLOCK_BYTES = 2**19
_LOAD_BYTES = 2 * 2**20
_LOADS = 8
_WRITERS = 4  # loads on their way to the disk at once: it is quicker with more than one
_PAGE = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


def write(
    outputs: list[Output],
    folder: Path,
    *,
    finished: Callable[[str, int, str], None],
    moved: Callable[[int], None],
    check_stopped: Callable[[], None],
    processes: int,
) -> None:
    """Write each file into `folder`, under its name only when it is whole and on the disk.

    finished       (name, bytes, sha256) of each file that is
    moved          bytes that were made, for the progress
    check_stopped  raises when the work should end
    processes      that work at once; 1 forks none
    Raises OSError (a full disk, an unreadable source).
    """
    largest = max((part.row for output in outputs for part in output.parts if part.sections), default=0)
    room = max(_LOAD_BYTES, _whole_pages(largest) + 2 * _PAGE)
    memory = np.frombuffer(mmap.mmap(-1, _LOADS * room), np.uint8).reshape(_LOADS, room)

    def blocks() -> Iterator[Block]:
        return _loaded(outputs, room)

    with Crew(blocks, memory, processes) as crew, ThreadPoolExecutor(_WRITERS) as disk:
        coming = groupby(blocks(), lambda block: block.load)
        for output in outputs:
            target, writing = folder / output.name, folder / f".{output.name}.writing"
            handle = _open(writing)
            try:
                # With its length beforehand the kernel lets several writes be under way.
                os.ftruncate(handle, _whole_pages(output.size))
                pouring = _Pouring(handle, memory, crew, disk)
                with _full_disk_named(target), pouring:
                    while pouring.end < output.size:
                        for block in next(coming)[1]:
                            pouring.take(block)
                            check_stopped()
                            moved(block.piece.size)
                        pouring.push(last=pouring.end == output.size)
                with _full_disk_named(target):
                    os.ftruncate(handle, output.size)
                    os.fsync(handle)
            except BaseException:
                writing.unlink()
                raise
            finally:
                os.close(handle)
            os.replace(writing, target)
            files.sync_folder(folder)
            finished(output.name, output.size, pouring.digest.hexdigest())


class _Pouring:
    """One file on its way through the memory to the disk. When its `with` block ends nothing is under way any more."""

    def __init__(self, handle: int, memory: Array, crew: Crew, disk: ThreadPoolExecutor):
        self._handle, self._memory, self._crew, self._disk = handle, memory, crew, disk
        self._under_way: deque[Future[None]] = deque()
        self._load = self._begin = 0  # and where in the file its memory begins
        self.end = 0  # bytes that were taken
        self.digest = hashlib.sha256()
        self._near = np.empty(BLOCK_BYTES, np.uint8)

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, *_error: object) -> None:
        wait(self._under_way)
        if kind is None:
            for one in self._under_way:
                one.result()

    def take(self, block: Block) -> None:
        """The next block, hashed."""
        made = self._crew.make(block)
        # Another core has made it, and sha256 would wait for every line of its cache: a copy is there a fifth sooner.
        for start in range(0, len(made), BLOCK_BYTES):
            near = self._near[: len(made) - start]
            near[:] = made[start : start + BLOCK_BYTES]
            self.digest.update(near.data)
        self._load, self._begin, self.end = block.load, block.piece.at - block.place, block.piece.at + block.piece.size

    def push(self, last: bool) -> None:
        """This load is complete: it goes to the disk, but for the page that it has only begun with."""
        memory = self._memory[self._load % _LOADS]
        size = self.end - self._begin
        whole = _whole_pages(size) if last else size // _PAGE * _PAGE
        # The next load's memory has been on the disk before its first bytes are put there.
        while len(self._under_way) >= _LOADS - 1:
            self._under_way.popleft().result()
        if not last:
            self._memory[(self._load + 1) % _LOADS][: size - whole] = memory[whole:size]
        self._under_way.append(self._disk.submit(self._write, memory[:whole].data, self._begin, self._load))

    def _write(self, data: memoryview, at: int, load: int) -> None:
        _write_all(self._handle, data, at)
        self._crew.release(load)


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _loaded(outputs: list[Output], room: int) -> Iterator[Block]:
    """All blocks of all outputs, and which of them go to the disk together."""
    load = -1
    for output in outputs:
        load, begin = load + 1, 0
        for piece in _pieces(output):
            if piece.at + piece.size - begin > room:
                load, begin = load + 1, piece.at // _PAGE * _PAGE
            yield Block(load, piece.at - begin, piece)


def _pieces(output: Output) -> Iterator[Piece]:
    """An output in order: of whole rows, and never across two sections, where there are changes."""
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


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags | _DIRECT, 0o644)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags, 0o644)  # this file system always goes through the page cache


def _write_all(handle: int, data: memoryview, at: int) -> None:
    done = 0
    while done < len(data):
        try:
            done += os.pwrite(handle, data[done:], at + done)
        except OSError as error:
            flags = fcntl.fcntl(handle, fcntl.F_GETFL)
            if error.errno != errno.EINVAL or not flags & _DIRECT:
                raise
            fcntl.fcntl(handle, fcntl.F_SETFL, flags & ~_DIRECT)  # or it asks for more than whole pages


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """The kernel does not say which file it had no room for."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
