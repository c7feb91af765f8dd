"""Weight files written anew: read, changed and written by all cores in blocks, hashed in order as they come.

The disk is kept busy from the first block on: a thread of its own pushes what was written so far out of the page cache,
so that little is left to wait for at the end of a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from appliance import files
from appliance.merging.changes import Apply, Section
from appliance.merging.numbers import STORED, WIDTH, Array

# Small enough that a core's own cache holds it together with its float32 sums.
BLOCK_BYTES = 2**19
_FLUSH_BYTES = 64 * 2**20
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


@dataclass
class _Block:
    """A piece of a part: `at` in the output, `start` in the source; `applies` change `rows` of it from `first` on."""

    part: Part
    source: int | None
    start: int
    at: int
    size: int
    first: int = 0
    applies: list[Apply] = field(default_factory=list)


def write(
    outputs: list[Output],
    folder: Path,
    *,
    finished: Callable[[str, int, str], None],
    moved: Callable[[int], None],
    check_stopped: Callable[[], None],
    threads: int,
) -> None:
    """Write each file into `folder`, under its name only when it is whole and on the disk.

    finished       (name, bytes, sha256) of each file that is; called from a thread, in order
    moved          bytes that were written, for the progress
    check_stopped  raises when the work should end
    Raises OSError (a full disk, an unreadable source).
    """
    with ExitStack() as stack:
        workers = stack.enter_context(_Pool(threads))
        disk = stack.enter_context(_Pool(1))
        done: list[Future[None]] = []
        try:
            for output in outputs:
                writing = folder / f".{output.name}.writing"
                handle = os.open(writing, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
                try:
                    with _full_disk_named(folder / output.name):
                        digest = _pipe(output, handle, workers, disk, threads, moved, check_stopped)
                except BaseException:
                    os.close(handle)
                    writing.unlink()
                    raise
                done.append(disk.submit(_finish, handle, writing, folder / output.name, output.size, digest, finished))
                # At most one file behind, so that a full disk is noticed near where it happened.
                while len(done) > 1:
                    done.pop(0).result()
        finally:
            for one in done:
                one.result()


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """The kernel does not say which file it had no room for."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


class _Pool(ThreadPoolExecutor):
    """On an error nothing that waits is begun any more."""

    def __exit__(self, kind: Any, *error: Any) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


def _pipe(
    output: Output,
    handle: int,
    workers: _Pool,
    disk: _Pool,
    threads: int,
    moved: Callable[[int], None],
    check_stopped: Callable[[], None],
) -> str:
    """All blocks through the workers, hashed in their order by the calling thread. Returns the sha256."""
    digest = hashlib.sha256(output.header)
    _write_all(handle, memoryview(output.header), 0)
    buffers: SimpleQueue[Array] = SimpleQueue()
    for _number in range(threads + 2):
        buffers.put(np.empty(BLOCK_BYTES, np.uint8))
    waiting: deque[tuple[Future[Array], _Block]] = deque()
    flushed, pushing = 0, None
    with ExitStack() as stack:
        blocks = _blocks(output, stack)

        def take() -> None:
            block = next(blocks, None)
            if block is not None:
                waiting.append((workers.submit(_work, block, handle, buffers.get()), block))

        try:
            for _number in range(threads + 2):
                take()
            while waiting:
                future, block = waiting.popleft()
                buffer = future.result()
                digest.update(buffer[: block.size].data)
                buffers.put(buffer if buffer.size == BLOCK_BYTES else np.empty(BLOCK_BYTES, np.uint8))
                check_stopped()
                take()
                moved(block.size)
                if block.at - flushed > _FLUSH_BYTES and (pushing is None or pushing.done()):
                    flushed, pushing = block.at, disk.submit(os.fdatasync, handle)
        except BaseException:
            for future, _block in waiting:
                future.cancel()
            for future, _block in waiting:  # they still use the files that are closed next
                with suppress(BaseException):
                    future.result()
            raise
    return digest.hexdigest()


def _blocks(output: Output, stack: ExitStack) -> Iterator[_Block]:
    """The parts cut into blocks: of whole rows, and never across two sections, where there are changes."""
    opened: dict[Path, int] = {}
    at = len(output.header)
    for part in output.parts:
        if part.source is not None and part.source not in opened:
            opened[part.source] = os.open(part.source, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, opened[part.source])
        source = opened[part.source] if part.source is not None else None
        if not part.sections:
            for offset in range(0, part.size, BLOCK_BYTES):
                yield _Block(part, source, part.start + offset, at + offset, min(BLOCK_BYTES, part.size - offset))
        row = part.columns * WIDTH.get(part.dtype, 1)
        for section in part.sections:
            applies = [step.open(part.dtype) for step in section.steps]
            step_rows = max(1, BLOCK_BYTES // row)
            for first in range(section.first, section.last, step_rows):
                size = (min(first + step_rows, section.last) - first) * row
                offset = first * row
                yield _Block(part, source, part.start + offset, at + offset, size, first - section.first, applies)
        at += part.size


def _work(block: _Block, handle: int, buffer: Array) -> Array:
    """Read, change and write one block. Returns the buffer that holds what was written."""
    if buffer.size < block.size:  # a row longer than a block
        buffer = np.empty(block.size, np.uint8)
    piece = buffer[: block.size]
    if block.source is not None:
        _read_all(block.source, piece.data, block.start, block.part.source)
    if block.applies:
        rows = piece.view(STORED[block.part.dtype]).reshape(-1, block.part.columns)
        for apply in block.applies:
            apply(rows, block.first)
    # What stays as it is, by the kernel itself, which on some file systems moves nothing at all.
    elif block.source is not None and _copied(block.source, handle, block):
        return buffer
    _write_all(handle, piece.data, block.at)
    return buffer


def _copied(source: int, target: int, block: _Block) -> bool:
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
        if error.errno in _FULL:
            raise
        return False
    return True


def _read_all(handle: int, into: memoryview, at: int, path: Path | None) -> None:
    done = 0
    while done < len(into):
        count = os.preadv(handle, [into[done:]], at + done)
        if count == 0:
            raise OSError(errno.EIO, "the file became shorter while it was read", str(path))
        done += count


def _write_all(handle: int, data: memoryview, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], at + done)


def _finish(
    handle: int, writing: Path, target: Path, size: int, digest: str, finished: Callable[[str, int, str], None]
) -> None:
    with _full_disk_named(target):
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(writing, target)
        files.sync_folder(target.parent)
        finished(target.name, size, digest)
