"""What an export will write, and whether its place can take it: judged before the first byte, or told by the disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import output
from appliance.errors import ApplianceError, UsageError
from appliance.files import folder_size
from appliance.hub import manifest
from appliance.hub.verify import how_to_mend, no_manifest
from appliance.hub.workspace import ARCHIVES
from appliance.locale import _

# The largest file on FAT, 2^32 - 1 bytes. Most USB sticks are sold with it.
FAT_LIMIT = 2**32 - 1
_FAT = {"vfat", "msdos", "fat", "fat32"}


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
        raise damaged(folder, written, wrong)
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
    made = plan(folder, to, written)
    if os.path.lexists(to):
        raise taken(to)
    _check_limit(made)
    _check_space(made)
    return made


def plan(folder: Path, to: Path, written: dict[str, Any]) -> Export:
    """The parts in their order, from the model's manifest."""
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


def taken(to: Path) -> ApplianceError:
    """The target is there already."""
    return ApplianceError(
        _("{folder} is there already.").format(folder=to),
        _("An export never writes over anything."),
        _("Choose another name with --to, or remove it first."),
    )


def damaged(folder: Path, written: dict[str, Any], wrong: list[str]) -> ApplianceError:
    """The model is not what its manifest says."""
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


def told(error: OSError, made: Export) -> ApplianceError | None:
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
