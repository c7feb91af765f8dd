"""Weight files written anew: read, changed and written by all cores in blocks, hashed in order as they come.

The disk is kept busy from the first block on: a thread pushes what was written so far out of the page cache, so that
little is left to wait for at the end of a file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import files
from appliance.merging.changes import Section
from appliance.merging.crew import FULL, Block, working
from appliance.merging.numbers import WIDTH

# A core's own cache holds most of it together with its float32 sums.
BLOCK_BYTES = 2**20
_FLUSH_BYTES = 64 * 2**20


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

    finished       (name, bytes, sha256) of each file that is; called from a thread, in order
    moved          bytes that were written, for the progress
    check_stopped  raises when the work should end
    processes      that work at once; 1 forks none
    Raises OSError (a full disk, an unreadable source).
    """
    with ExitStack() as stack:
        disk = stack.enter_context(_Pool(1))
        done: list[Future[None]] = []
        try:
            for output in outputs:
                writing = folder / f".{output.name}.writing"
                handle = os.open(writing, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
                try:
                    with _full_disk_named(folder / output.name):
                        digest = _pipe(output, handle, disk, processes, moved, check_stopped)
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
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


class _Pool(ThreadPoolExecutor):
    """On an error nothing that waits is begun any more."""

    def __exit__(self, kind: Any, *error: Any) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


def _pipe(
    output: Output,
    handle: int,
    disk: _Pool,
    processes: int,
    moved: Callable[[int], None],
    check_stopped: Callable[[], None],
) -> str:
    """All blocks of a file, hashed in their order. Returns the sha256."""
    digest = hashlib.sha256(output.header)
    os.pwrite(handle, output.header, 0)
    flushed = 0
    pushing: Future[None] | None = None
    slot = max([BLOCK_BYTES, *(_row(part) for part in output.parts if part.sections)])
    with working(list(_blocks(output)), handle, processes, slot) as written:
        for block, data in written:
            digest.update(data)
            check_stopped()
            moved(block.size)
            if block.at - flushed > _FLUSH_BYTES and (pushing is None or pushing.done()):
                if pushing:
                    pushing.result()  # the kernel tells of a failed write once, and to this call
                flushed, pushing = block.at, disk.submit(os.fdatasync, handle)
    if pushing:
        pushing.result()
    return digest.hexdigest()


def _row(part: Part) -> int:
    return part.columns * WIDTH.get(part.dtype, 1)


def _blocks(output: Output) -> Iterator[Block]:
    """The parts cut into blocks: of whole rows, and never across two sections, where there are changes."""
    at = len(output.header)
    for part in output.parts:
        if not part.sections:
            for offset in range(0, part.size, BLOCK_BYTES):
                yield Block(part.source, part.start + offset, at + offset, min(BLOCK_BYTES, part.size - offset))
        row = _row(part)
        for section in part.sections:
            rows = max(1, BLOCK_BYTES // row)
            for first in range(section.first, section.last, rows):
                size = (min(first + rows, section.last) - first) * row
                yield Block(
                    part.source, part.start + first * row, at + first * row, size, part.dtype, part.columns, section,
                    first - section.first,
                )  # fmt: skip
        at += part.size


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
