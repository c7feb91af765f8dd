"""A model out to a USB stick or another disk: as a folder, or as one .tar file, with its manifest.

The last name appears only when everything is there. A try that was killed is gone on with: what stands in the hidden
file beside the target is compared, and only the rest is written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import output
from appliance.errors import ApplianceError, UsageError
from appliance.files import folder_size, sync_folder
from appliance.hub import local, manifest
from appliance.hub.verify import CHUNK, how_to_mend, no_manifest
from appliance.hub.workspace import ARCHIVES
from appliance.locale import _

# The largest file on FAT, 2^32 - 1 bytes. Most USB sticks are sold with it.
FAT_LIMIT = 2**32 - 1
_FAT = {"vfat", "msdos", "fat", "fat32"}
_SYNC_BYTES = 64 * 1024 * 1024  # so that progress is what the stick has, not what memory will write one day


@dataclass(frozen=True)
class Part:
    """A file of the export: its name, its sha256 and size, and in a tar its header. `content`: the manifest's bytes."""

    name: str
    size: int
    sha256: str
    header: bytes = b""
    content: bytes | None = None


@dataclass(frozen=True)
class Export:
    """What will be written: `to` is a .tar file or a folder, `parts` in their order, `total` bytes."""

    folder: Path
    to: Path
    parts: tuple[Part, ...]
    total: int

    @property
    def is_tar(self) -> bool:
        return self.to.name.endswith(".tar")

    @property
    def staging(self) -> Path:
        """The hidden name that it has until it is whole."""
        return self.to.with_name(f".{self.to.name}.partial")


def target(to: str, name: str) -> Path:
    """Where it goes: a .tar file, a new folder, or `name` inside a folder that is there. Raises UsageError."""
    path = Path(to).expanduser().absolute()
    if path.is_dir():
        return path / name
    if path.name.lower().endswith(ARCHIVES) and not path.name.endswith(".tar"):
        raise UsageError(
            _("{name}: a model is exported as .tar or as a folder.").format(name=path.name),
            _("Weights hardly get smaller by packing them."),
            _("Write --to {name}, or the name of a folder.").format(name=path.name.split(".")[0] + ".tar"),
        )
    return path


def look(folder: Path, to: Path) -> Export:
    """What exporting takes, judged before the first byte.

    Raises ApplianceError: no whole model, the target is taken, its place is not there or too small, a file too large.
    """
    written = manifest.read(folder)
    if written is None:
        raise no_manifest(folder)
    wrong = manifest.differences(folder, written)
    if wrong:
        raise _damaged(folder, written, wrong)
    if to == folder or to.is_relative_to(folder):
        raise ApplianceError(
            _("A model can't be exported into itself."),
            str(to),
            _("Choose a place outside of {folder}.").format(folder=folder),
        )
    if not to.parent.is_dir():
        raise ApplianceError(
            _("{folder} is not there.").format(folder=to.parent),
            _("The stick or disk may not be plugged in, or not be mounted."),
            _("Plug it in, and check the path."),
        )
    made = _parts(folder, to, written)
    if os.path.lexists(to):
        raise taken(to)
    _check_limit(made)
    _check_space(made)
    return made


def taken(to: Path) -> ApplianceError:
    """The target is there already."""
    return ApplianceError(
        _("{folder} is there already.").format(folder=to),
        _("An export never writes over anything."),
        _("Choose another name with --to, or remove it first."),
    )


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
        made = _parts(folder, to, manifest.read(folder) or {"files": {}})
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
            told = _told(error, made) if isinstance(error, OSError) else None
            if told is not None:
                raise told from error
            raise
        if os.path.lexists(to):
            _drop(made.staging)
            raise taken(to)
        os.rename(made.staging, to)
        sync_folder(to.parent)
    return made


def _parts(folder: Path, to: Path, written: dict[str, Any]) -> Export:
    kept = {key: value for key, value in written.items() if key not in ("damaged", "verified", "through")}
    text = (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode()
    parts = [Part(manifest.NAME, len(text), hashlib.sha256(text).hexdigest(), content=text)]
    for name, entry in sorted(written["files"].items()):
        parts.append(Part(name, int(entry["size"]), str(entry["sha256"])))
    if not to.name.endswith(".tar"):
        # The manifest last: a folder is a model only with it.
        parts = [*parts[1:], parts[0]]
        return Export(folder, to, tuple(parts), sum(part.size for part in parts))
    # In a tar the manifest comes first, so that it is found at once.
    packed = tuple(Part(p.name, p.size, p.sha256, _header(folder.name, p), p.content) for p in parts)
    size = sum(len(part.header) + part.size + -part.size % tarfile.BLOCKSIZE for part in packed)
    return Export(folder, to, packed, size + 2 * tarfile.BLOCKSIZE)


def _header(top: str, part: Part) -> bytes:
    """The same for the same model every time, so that a cut archive can be gone on with."""
    member = tarfile.TarInfo(f"{top}/{part.name}")
    member.size, member.mode = part.size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


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
        raise _damaged(folder, written, [part.name])


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


def _damaged(folder: Path, written: dict[str, Any], wrong: list[str]) -> ApplianceError:
    return ApplianceError(
        _("{name} is damaged, so it is not exported.").format(name=folder.name),
        _("These files are not what they were: {files}.").format(files=", ".join(wrong[:5])),
        how_to_mend(folder, written)
        if manifest.marked(manifest.read(folder) or {})
        else _("See all that is wrong with it: appliance models verify {name}").format(name=folder.name),
    )


def file_limit(place: Path) -> int | None:
    """The largest file that the file system at `place` can hold, in bytes; None: no limit that matters."""
    import psutil

    real = place.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return FAT_LIMIT if nearest is not None and nearest.fstype.lower() in _FAT else None


def _check_limit(made: Export) -> None:
    limit = file_limit(made.to.parent)
    largest = made.total if made.is_tar else max(part.size for part in made.parts)
    if limit is not None and largest > limit:
        raise _too_large(made)


def _too_large(made: Export) -> ApplianceError:
    largest = max(made.parts, key=lambda part: part.size)
    fits = made.is_tar and largest.size <= FAT_LIMIT
    what = made.to.name if made.is_tar else largest.name
    return ApplianceError(
        _("{name} is too large for the file system of {place}.").format(name=what, place=made.to.parent),
        _("It has {size}; on FAT32, as most USB sticks come, a file can have 4 GiB at most.").format(
            size=output.size(made.total if made.is_tar else largest.size)
        ),
        _("Export it as a folder instead, whose files are small enough: --to {folder}").format(folder=made.to.parent)
        if fits
        else _("Format the stick as exFAT (this deletes what is on it), or take another disk."),
    )


def _told(error: OSError, made: Export) -> ApplianceError | None:
    """What a stick says that is too small, of the wrong kind, or pulled out; None for anything else."""
    if error.errno == errno.EFBIG:
        return _too_large(made)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ApplianceError(
            _("There is too little room in {place}.").format(place=made.to.parent),
            _("It filled up while it was written."),
            _("Make room there, or take a larger stick or disk."),
        )
    if error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESTALE):
        return ApplianceError(
            _("A disk does not answer any more."),
            error.strerror or "",
            _("See whether the stick is still plugged in, then resume the job: appliance jobs resume ID"),
        )
    return None


def _check_space(made: Export) -> None:
    there = made.staging.stat().st_size if made.is_tar and made.staging.is_file() else folder_size(made.staging)
    free = shutil.disk_usage(made.to.parent).free
    needed = max(0, made.total - there)
    if free < needed:
        raise ApplianceError(
            _("There is too little room in {place}.").format(place=made.to.parent),
            _("{needed} are needed and {free} are free.").format(needed=output.size(needed), free=output.size(free)),
            _("Make room there, or take a larger stick or disk."),
        )
