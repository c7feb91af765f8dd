"""A model out to a USB stick or another disk: as a folder, or as one .tar file, with its manifest.

The last name appears only when everything is there. A try that was killed is gone on with: what stands in the hidden
file beside the target is compared, and only the rest is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.files import sync_folder
from appliance.hub import local, manifest
from appliance.hub.export_plan import Export, Part, damaged, look, plan, taken, told
from appliance.hub.verify import CHUNK
from appliance.locale import _

_SYNC_BYTES = 64 * 1024 * 1024  # so that progress is what the stick has, not what memory will write one day


def export(
    folder: Path,
    to: Path,
    *,
    progress: Callable[[int, int, str], None],
    check_stopped: Callable[[], None],
    again: bool = False,
) -> Export:
    """Write the model in `folder` to `to`, whole and durably, or not at all. Returns what was written.

    progress  called with (done bytes, total bytes, file)
    again     this is a further try of the same export: when the last one had finished all but its last word, it is done

    Stopped or killed, the hidden file stays for the next try; after any other failure it is removed.
    """
    if again and os.path.lexists(to):
        made = plan(folder, to, manifest.read(folder) or {"files": {}})
        if _is_whole(made):
            return made
    made = look(folder, to)
    with _alone(made):
        done = 0

        def moved(count: int, name: str) -> None:
            nonlocal done
            check_stopped()
            done += count
            progress(done, made.total, name)

        try:
            (_write_tar if made.is_tar else _write_folder)(made, moved)
        except Exception as error:
            _drop(made.staging)
            sentence = told(error, made) if isinstance(error, OSError) else None
            if sentence is not None:
                raise sentence from error
            raise
        if os.path.lexists(to):
            _drop(made.staging)
            raise taken(to)
        os.rename(made.staging, to)
        sync_folder(to.parent)
    return made


def _write_tar(made: Export, moved: Callable[[int, str], None]) -> None:
    with _Output(made.staging) as file:
        for part in made.parts:
            file.write(part.header)
            moved(len(part.header), part.name)
            _copy(made.folder, part, file, moved)
            padding = -part.size % tarfile.BLOCKSIZE
            file.write(b"\0" * padding)
            moved(padding, part.name)
        file.write(b"\0" * (2 * tarfile.BLOCKSIZE))
        moved(2 * tarfile.BLOCKSIZE, "")


def _write_folder(made: Export, moved: Callable[[int, str], None]) -> None:
    for path in made.staging.rglob("*"):  # what a killed export of another model to this name left
        if not path.is_dir() and path.relative_to(made.staging).as_posix() not in {part.name for part in made.parts}:
            path.unlink()
    for part in made.parts:
        path = made.staging / part.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Output(path) as file:
            _copy(made.folder, part, file, moved)
    for inner in {(made.staging / part.name).parent for part in made.parts}:
        sync_folder(inner)


def _copy(folder: Path, part: Part, file: _Output, moved: Callable[[int, str], None]) -> None:
    if part.content is not None:
        file.write(part.content)
        moved(part.size, part.name)
        return
    digest, size = hashlib.sha256(), 0
    with (folder / part.name).open("rb", buffering=0) as source:
        while block := source.read(min(CHUNK, part.size - size + 1)):
            size += len(block)
            if size > part.size:
                break
            digest.update(block)
            file.write(block)
            moved(len(block), part.name)
    if digest.hexdigest() != part.sha256:
        written = manifest.read(folder) or {"files": {}}
        manifest.mark(folder, sorted({*manifest.marked(written), part.name}))
        raise damaged(folder, written, [part.name])


class _Output:
    """A file that goes on where a killed try ended: what stands there is compared, and only the rest is written."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC, 0o644)
        self._there = os.fstat(self._file).st_size
        self._at = self._synced = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                os.ftruncate(self._file, self._at)
                os.fsync(self._file)
        finally:
            os.close(self._file)

    def write(self, block: bytes) -> None:
        """Append."""
        if self._at < self._there:
            if os.pread(self._file, len(block), self._at) == block:
                self._at += len(block)
                return
            os.ftruncate(self._file, self._at)
            self._there = self._at
        left = memoryview(block)
        while left:
            count = os.pwrite(self._file, left, self._at)
            self._at += count
            left = left[count:]
        if self._at - self._synced >= _SYNC_BYTES:
            os.fsync(self._file)
            self._synced = self._at


@contextmanager
def _alone(made: Export) -> Iterator[None]:
    """The hidden file or folder, held against a second export to the same place."""
    staging = made.staging
    if made.is_tar:
        handle = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    else:
        staging.mkdir(exist_ok=True)
        handle = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ApplianceError(
                _("Another job is writing {name}.").format(name=made.to),
                _("Two can't write the same file."),
                _("Wait for it: `appliance jobs list`."),
            ) from None
        except OSError:  # some network file systems have no locks
            pass
        yield
    finally:
        os.close(handle)


def _drop(staging: Path) -> None:
    if staging.is_dir():
        shutil.rmtree(staging, ignore_errors=True)
    else:
        with suppress(OSError):  # the stick may be gone
            staging.unlink(missing_ok=True)


def _is_whole(made: Export) -> bool:
    """Whether the target is this very export: it got its name only once it was whole."""
    try:
        found = local.look(made.to)
    except (ApplianceError, OSError):
        return False
    return found.carried is not None and found.carried["files"] == (manifest.read(made.folder) or {}).get("files")
