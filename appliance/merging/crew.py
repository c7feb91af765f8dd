"""Processes that share the blocks of a file: the first takes every n-th block, and so on; the parent gets all in order.

Processes, because numpy gives Python's lock back and takes it again for every small step: threads would spend half of
their time on that. They are forked, so they know the work already; what they wrote lies in memory shared with the
parent, and a byte through a pipe says when it is there or may be written over. They end when the parent does.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from appliance.locale import _
from appliance.merging.changes import Apply, Section
from appliance.merging.numbers import STORED, Array

FULL = (errno.ENOSPC, errno.EDQUOT)
# Blocks that a process may be ahead of the parent.
_SLOTS = 3


@dataclass(frozen=True)
class Block:
    """A piece of a file: `start` in the source, `at` in the output; `section` changes its rows, from `first` on.

    source   None where the base has nothing here: the section's first step writes all of it
    section  None: the bytes stay as they are
    """

    source: Path | None
    start: int
    at: int
    size: int
    dtype: str = ""
    columns: int = 0
    section: Section | None = None
    first: int = 0


@contextmanager
def working(
    blocks: list[Block], handle: int, processes: int, slot: int
) -> Iterator[Iterator[tuple[Block, memoryview]]]:
    """Every block with the bytes that were written for it, in order; they are good until the next one is asked for.

    handle  the output, open for writing
    slot    bytes of the largest block
    """
    count = min(processes, len(blocks)) if sys.platform == "linux" else 1
    if count < 2:
        yield _alone(blocks, handle, slot)
        return
    shared = np.frombuffer(mmap.mmap(-1, count * _SLOTS * slot), np.uint8).reshape(count, _SLOTS, slot)
    crew: list[_Member] = []
    try:
        for number in range(count):
            crew.append(_Member(blocks[number::count], handle, shared[number], [one.free for one in crew]))
        yield _together(blocks, crew)
    finally:
        for member in crew:
            member.end()


def _alone(blocks: list[Block], handle: int, slot: int) -> Iterator[tuple[Block, memoryview]]:
    worker, memory = _Worker(handle), np.empty(slot, np.uint8)
    for block in blocks:
        worker.write(block, memory[: block.size])
        yield block, memory[: block.size].data


def _together(blocks: list[Block], crew: list[_Member]) -> Iterator[tuple[Block, memoryview]]:
    for number, block in enumerate(blocks):
        turn, whose = divmod(number, len(crew))
        member = crew[whose]
        member.wait()
        yield block, member.slots[turn % _SLOTS][: block.size].data
        member.go_on()


class _Member:
    """One process and its two pipes, as the parent sees it. `others`: the parent's ends that it must not hold open."""

    def __init__(self, blocks: list[Block], handle: int, slots: Array, others: list[int]):
        self.slots = slots
        may, self.free = os.pipe()
        self.ready, done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _labour(blocks, handle, slots, may, done, [*others, self.free])
        os.close(may)
        os.close(done)

    def wait(self) -> None:
        """Until its next block is written. Raises the OSError that it met."""
        word = os.read(self.ready, 1)
        if word == b".":
            return
        told = b""
        while more := os.read(self.ready, 65536):
            told += more
        number, text, name = json.loads(told) if told else (errno.ECHILD, _("a process of the merge ended"), None)
        raise OSError(number, text, name)

    def go_on(self) -> None:
        """One more slot may be written over."""
        try:
            os.write(self.free, b".")
        except BrokenPipeError:  # it has written its last block
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


def _labour(blocks: list[Block], handle: int, slots: Array, may: int, done: int, others: list[int]) -> NoReturn:
    """The life of a process."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for one in others:
            os.close(one)
        worker = _Worker(handle)
        for number, block in enumerate(blocks):
            if number >= _SLOTS and not os.read(may, 1):
                break  # the parent is gone
            worker.write(block, slots[number % _SLOTS][: block.size])
            os.write(done, b".")
    except OSError as error:
        os.write(done, b"!" + json.dumps([error.errno, error.strerror, error.filename]).encode())
    except BaseException as error:
        os.write(done, b"!" + json.dumps([errno.EIO, repr(error), None]).encode())
    finally:
        os._exit(0)


class _Worker:
    """Writes blocks; keeps the sources open, and what the section that it is in needs."""

    def __init__(self, handle: int):
        self._handle = handle
        self._sources: dict[Path, int] = {}
        self._section: Section | None = None
        self._applies: list[Apply] = []

    def __del__(self) -> None:
        for source in self._sources.values():
            os.close(source)

    def write(self, block: Block, piece: Array) -> None:
        """Read, change and write one block; `piece` then holds what was written."""
        source = None
        if block.source is not None:
            if block.source not in self._sources:
                self._sources[block.source] = os.open(block.source, os.O_RDONLY | os.O_CLOEXEC)
            source = self._sources[block.source]
            _read_all(source, piece.data, block.start, block.source)
        if block.section is not None:
            if block.section is not self._section:
                self._section = block.section
                self._applies = [step.open(block.dtype) for step in block.section.steps]
            rows = piece.view(STORED[block.dtype]).reshape(-1, block.columns)
            for apply in self._applies:
                apply(rows, block.first)
        # What stays as it is, by the kernel itself, which on some file systems moves nothing at all.
        elif source is not None and _copied(source, self._handle, block):
            return
        _write_all(self._handle, piece.data, block.at)


def _copied(source: int, target: int, block: Block) -> bool:
    done = 0
    try:
        while done < block.size:
            moved = os.copy_file_range(source, target, block.size - done, block.start + done, block.at + done)
            if moved == 0:
                return False
            done += moved
    except AttributeError:  # not Linux
        return False
    except OSError as error:
        if error.errno in FULL:
            raise
        return False
    return True


def _read_all(handle: int, into: memoryview, at: int, path: Path) -> None:
    done = 0
    while done < len(into):
        count = os.preadv(handle, [into[done:]], at + done)
        if count == 0:
            raise OSError(errno.EIO, _("the file became shorter while it was read"), str(path))
        done += count


def _write_all(handle: int, data: memoryview, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], at + done)
