"""Weight files written anew, block by block: one thread reads, one changes, one hashes in order, one writes.

sha256, which cannot be shared, needs longer than all the others together, and has a core of two for itself.

What is written goes past the page cache: to go through it takes a fifth of a second of a core for every GB, and what
lies there has to be waited for in the end. In memory it begins with a whole page of the file, for that is what the
kernel asks for: with the bytes that the block before it had over.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from appliance import files
from appliance.merging.numbers import Array
from appliance.merging.pieces import Block, Changer, Output, Reader, blocks

_PLACES = 5  # one block is read, one changed, one hashed, one written, and one waits
_PAGE = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)

# What the threads hand on: a place in the memory; that, its bytes that are the block, and how to change them; the same,
# changed; that, its bytes that are to be written, and where in the file. None: there will be no more.
_Free = SimpleQueue[Array | None]
_Raw = SimpleQueue[tuple[Array, Array, Block] | None]
_Made = SimpleQueue[tuple[Array, Array] | None]
_Ready = SimpleQueue[tuple[Array, Array, int] | None]


def write(
    outputs: list[Output],
    folder: Path,
    *,
    finished: Callable[[str, int, str], None],
    moved: Callable[[int], None],
    check_stopped: Callable[[], None],
) -> None:
    """Write each file into `folder`, under its name only when it is whole and on the disk.

    finished       (name, bytes, sha256) of each file that is
    moved          bytes that were made, for the progress
    check_stopped  raises when the work should end
    Raises OSError (a full disk, an unreadable source).
    """
    memory = _memory(max((output.largest_block for output in outputs), default=0))

    def take(block: Array) -> None:
        check_stopped()
        moved(block.size)

    for output in outputs:
        target, writing = folder / output.name, folder / f".{output.name}.writing"
        handle = _open(writing)
        try:
            with _full_disk_named(target):
                # With its length beforehand the kernel need not make it longer with every block.
                os.ftruncate(handle, _whole_pages(output.size))
                digest = _pour(output, handle, memory, take)
                os.ftruncate(handle, output.size)
                os.fsync(handle)
        except BaseException:
            writing.unlink()
            raise
        finally:
            os.close(handle)
        os.replace(writing, target)
        files.sync_folder(folder)
        finished(output.name, output.size, digest)


def _memory(largest: int) -> Array:
    """(_PLACES, bytes): each begins with a page and has room for the largest block and what comes before it."""
    room = _whole_pages(largest) + 2 * _PAGE
    memory = mmap.mmap(-1, _PLACES * room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # it costs the kernel half as much to write from there
        with suppress(OSError):  # a kernel may be without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8).reshape(_PLACES, room)


def _pour(output: Output, handle: int, memory: Array, take: Callable[[Array], None]) -> str:
    """One file from its sources to the disk; its sha256. When this ends nothing is under way any more."""
    free, raw, made, ready = _Free(), _Raw(), _Made(), _Ready()
    for place in memory:
        free.put(place)
    digest, end, rest = hashlib.sha256(), 0, b""
    with ThreadPoolExecutor(3, initializer=_second) as others:
        reading = others.submit(_read, blocks(output), free, raw)
        changing = others.submit(_change, raw, made)
        writing = others.submit(_write, handle, ready, free)
        try:
            while (one := made.get()) is not None:
                place, block = one
                digest.update(block.data)
                at = end // _PAGE * _PAGE
                place[: len(rest)] = np.frombuffer(rest, np.uint8)
                end += block.size
                whole = (_whole_pages(end) if end == output.size else end // _PAGE * _PAGE) - at
                rest = place[whole : end - at].tobytes()
                ready.put((place, place[:whole], at))
                take(block)
        finally:
            ready.put(None)
    reading.result()
    changing.result()
    writing.result()
    return digest.hexdigest()


def _second() -> None:
    """This thread never takes the core from the one that hashes, which all others wait for in the end."""
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # a sandbox may forbid it
            if os.sched_getscheduler(0) != os.SCHED_OTHER:  # someone chose otherwise
                return
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _read(coming: Iterator[Block], free: _Free, raw: _Raw) -> None:
    try:
        with closing(Reader()) as reader:
            for block in coming:
                place = free.get()
                if place is None:
                    return
                begin, end = block[0].at, block[-1].at + block[-1].size
                into = place[begin % _PAGE :][: end - begin]
                reader.read(block, into)
                raw.put((place, into, block))
    finally:
        raw.put(None)


def _change(raw: _Raw, made: _Made) -> None:
    try:
        changer = Changer()
        while (one := raw.get()) is not None:
            place, into, block = one
            changer.change(block, into)
            made.put((place, into))
    finally:
        made.put(None)


def _write(handle: int, ready: _Ready, free: _Free) -> None:
    try:
        while (one := ready.get()) is not None:
            place, data, at = one
            _write_all(handle, data.data, at)
            free.put(place)
    finally:
        free.put(None)


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


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
