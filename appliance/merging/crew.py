"""Processes that share a merge: the first makes every n-th block, and so on; the parent gets all in their order.

Processes, because numpy gives Python's lock back and takes it again for every small step: threads would spend half of
their time on that. They are forked, so they know the work already; what they make lies in memory shared with the
parent, and a byte through a pipe says when it is there or may be written over. They end when the parent does.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import numpy as np

from appliance.locale import _
from appliance.merging.changes import Apply, Section
from appliance.merging.numbers import STORED, Array


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


@dataclass(frozen=True)
class Block:
    """A piece and where it is made.

    load   what goes to the disk together has the same one; they are counted through all outputs
    place  where it begins in the memory of its load
    """

    load: int
    place: int
    piece: Piece


class Crew:
    """Makes blocks in their order. The processes end with the `with` block.

    blocks     every process goes through them and picks its own, so they must be the same ones each time
    memory     (loads, bytes): after the last load comes the first one again
    processes  1 forks none
    """

    def __init__(self, blocks: Callable[[], Iterable[Block]], memory: Array, processes: int):
        self._memory = memory
        self._members: list[_Member] = []
        self._turn = 0
        few = len(list(islice(blocks(), 2))) < 2
        if processes < 2 or few or sys.platform != "linux":
            self._worker = _Worker()
            return
        try:
            for number in range(processes):
                own = islice(blocks(), number, None, processes)
                self._members.append(_Member(own, memory, [one.free for one in self._members]))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        for member in self._members:
            member.end()

    def make(self, block: Block) -> Array:
        """The bytes of the next block, which is this one, once they are there. Raises the OSError that was met."""
        if self._members:
            self._members[self._turn % len(self._members)].wait()
            self._turn += 1
        else:
            self._worker.make(block.piece, _part(self._memory, block))
        return _part(self._memory, block)

    def release(self, load: int) -> None:
        """The memory of this load may be written over. May be called by any thread."""
        for member in self._members:
            member.go_on(load % len(self._memory))


def _part(memory: Array, block: Block) -> Array:
    part: Array = memory[block.load % len(memory), block.place : block.place + block.piece.size]
    return part


class _Member:
    """One process and its two pipes, as the parent sees it. `others`: the parent's ends that it must not hold open."""

    def __init__(self, blocks: Iterator[Block], memory: Array, others: list[int]):
        may, self.free = os.pipe()
        self.ready, done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _labour(blocks, memory, may, done, [*others, self.free])
        os.close(may)
        os.close(done)

    def wait(self) -> None:
        """Until its next block is there. Raises the OSError that it met."""
        word = os.read(self.ready, 1)
        if word == b".":
            return
        told = b""
        while more := os.read(self.ready, 65536):
            told += more
        number, text, name = json.loads(told) if told else (errno.ECHILD, _("a process of the merge ended"), None)
        raise OSError(number, text, name)

    def go_on(self, row: int) -> None:
        """This row of the memory may be written over."""
        try:
            os.write(self.free, bytes([row]))
        except BrokenPipeError:  # it has made its last block
            return

    def end(self) -> None:
        """It is over, whether it has finished or not."""
        os.close(self.free)
        os.close(self.ready)
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)


def _labour(blocks: Iterator[Block], memory: Array, may: int, done: int, others: list[int]) -> NoReturn:
    """The life of a process."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for one in others:
            os.close(one)
        worker, released = _Worker(), [0] * len(memory)
        for block in blocks:
            turn, row = divmod(block.load, len(memory))
            while released[row] < turn:
                told = os.read(may, 4096)
                if not told:
                    os._exit(0)  # the parent is gone
                for one in told:
                    released[one] += 1
            worker.make(block.piece, _part(memory, block))
            os.write(done, b".")
    except OSError as error:
        os.write(done, b"!" + json.dumps([error.errno, error.strerror, error.filename]).encode())
    except BaseException as error:
        os.write(done, b"!" + json.dumps([errno.EIO, repr(error), None]).encode())
    finally:
        os._exit(0)


class _Worker:
    """Makes blocks; keeps the source open that it reads, and what the section that it is in needs."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._source = -1
        self._section: Section | None = None
        self._applies: list[Apply] = []
        self._own = np.empty(0, np.uint8)

    def __del__(self) -> None:
        if self._path is not None:
            os.close(self._source)

    def make(self, piece: Piece, into: Array) -> None:
        """Read and change one piece: `into` then holds what belongs into the output."""
        if piece.raw:
            into[:] = np.frombuffer(piece.raw, np.uint8)
        elif piece.section is None:
            assert piece.source is not None
            self._read(piece.source, into.data, piece.start)
        else:
            into[:] = self._changed(piece, piece.section)

    def _changed(self, piece: Piece, section: Section) -> Array:
        """In memory that stays in this core's cache: `into` was last touched by the core that hashes."""
        if self._own.size < piece.size:
            self._own = np.empty(piece.size, np.uint8)
        own = self._own[: piece.size]
        if piece.source is not None:
            self._read(piece.source, own.data, piece.start)
        if section is not self._section:
            self._section = section
            self._applies = [step.open(piece.dtype) for step in section.steps]
        rows = own.view(STORED[piece.dtype]).reshape(-1, piece.columns)
        for apply in self._applies:
            apply(rows, piece.first)
        return own

    def _read(self, path: Path, into: memoryview, at: int) -> None:
        if path != self._path:
            self.__del__()
            self._path = None
            self._source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        done = 0
        while done < len(into):
            count = os.preadv(self._source, [into[done:]], at + done)
            if count == 0:
                raise OSError(errno.EIO, _("the file became shorter while it was read"), str(path))
            done += count
