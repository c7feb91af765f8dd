"""Read a model's every byte again and hold it against its manifest; say what is wrong and what mends it."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub.needed import why_hostile
from appliance.hub.workspace import folder_name
from appliance.locale import _

CHUNK = 4 * 1024 * 1024
_HUBS = ("huggingface", "modelscope")
_SHOWN = 10


@dataclass(frozen=True)
class Verdict:
    """What reading one model has shown. `changed`, `missing`, `extra`: relative names. Bytes as read."""

    folder: Path
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    files: int
    bytes: int

    @property
    def damaged(self) -> bool:
        """Whether it can't be trusted. Files that were added do no harm: nothing but what is known is ever opened."""
        return bool(self.changed or self.missing)


def verify(folder: Path, progress: Callable[[str, int], None], check_stopped: Callable[[], None]) -> Verdict:
    """Read every file of the manifest and keep the outcome in it: a damaged model is known as such from then on.

    `progress(name, bytes)` is called for every piece. Raises ApplianceError for a folder without a manifest.
    """
    written = manifest.read(folder)
    if written is None:
        raise no_manifest(folder)
    changed, missing, count = [], [], 0
    for name, entry in written["files"].items():
        path = folder / name
        if not path.is_file():
            missing.append(name)
            continue
        size = path.stat().st_size
        sha256 = read_sha256(path, partial(progress, name), check_stopped)
        if size != entry["size"] or sha256 != entry["sha256"]:
            changed.append(name)
        count += size
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    extra = sorted(there - set(written["files"]) - {manifest.NAME})
    try:
        manifest.mark(folder, [*changed, *missing])
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise  # a write-protected stick is told about, but can't be marked
    return Verdict(folder, tuple(changed), tuple(missing), tuple(extra), len(written["files"]) - len(missing), count)


def read_sha256(path: Path, seen: Callable[[int], None], check_stopped: Callable[[], None]) -> str:
    """A file's sha256 from the disk itself, not from what memory remembers of it (where the system lets go of that)."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := file.read(CHUNK):
            check_stopped()
            digest.update(block)
            seen(len(block))
    return digest.hexdigest()


def problems(verdict: Verdict) -> list[str]:
    """A line for every wrong file, the first few of them, in the order changed, missing."""
    name = verdict.folder.name
    lines = [_("{model}: {file} is not what it was: its checksum is another.").format(model=name, file=file)
             for file in verdict.changed]  # fmt: skip
    lines += [_("{model}: {file} is missing.").format(model=name, file=file) for file in verdict.missing]
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([_("… and {n} more").format(n=more)] if more > 0 else [])]


def damage(verdicts: Sequence[Verdict]) -> ApplianceError:
    """The sentence for models of which at least one is damaged."""
    wrong = [verdict for verdict in verdicts if verdict.damaged]
    lines = [line for verdict in wrong for line in problems(verdict)]
    steps = [how_to_mend(verdict.folder, manifest.read(verdict.folder) or {}) for verdict in wrong]
    if len(wrong) > 1:
        lines += [f"{verdict.folder.name}: {step}" for verdict, step in zip(wrong, steps, strict=True)]
    return ApplianceError(
        _("Damaged: {models}").format(models=", ".join(verdict.folder.name for verdict in wrong)),
        _("Files changed on this disk since they were brought here; it may be failing."),
        steps[0] if len(steps) == 1 else _("Mend each as said above."),
        lines,
    )


def how_to_mend(folder: Path, written: dict[str, Any]) -> str:
    """What to do with a damaged model, by where it came from."""
    reference, name = str(written.get("reference") or ""), shlex.quote(folder.name)
    if written.get("through"):
        again = f"appliance models import {shlex.quote(str(written['through']))} --to {name}"
        return _("Import it again, only the wrong files are brought: {command}").format(command=again)
    if written.get("source") in _HUBS:
        # Under another name than a download gives, where it stands has to be said.
        to = "" if folder.name == folder_name(reference) else f" --to {shlex.quote(str(folder))}"
        command = f"appliance download {shlex.quote(reference)}{to}"
        return _("Download it again, only the wrong files are brought: {command}").format(command=command)
    if written.get("source") in ("folder", "archive"):
        command = f"appliance models import {shlex.quote(reference)} --to {name}"
        return _("Remove it (appliance models remove {name}) and import it again: {command}").format(
            name=name, command=command
        )
    return _("Remove it (appliance models remove {name}) and make it again.").format(name=name)


def can_be_mended(written: dict[str, Any]) -> bool:
    """Whether the same download or import may bring only the wrong files: a verify has named them, and their checksums
    are known where it came from."""
    known = written.get("source") in _HUBS or bool(written.get("through"))
    return known and bool(manifest.marked(written))


def reopen(folder: Path, staging: Path) -> None:
    """Make a damaged model an unfinished one again, without its wrong files, so that only they are brought.

    Cut at any moment it is either still the damaged model or already the unfinished one.
    """
    for name in manifest.marked(manifest.read(folder) or {}):
        if not why_hostile(name):
            (folder / name).unlink(missing_ok=True)
    try:
        os.rename(folder, staging)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ApplianceError(
            _("{name} can't be mended: an unfinished one of the same name is in the way.").format(name=folder.name),
            str(staging),
            _("Remove the unfinished one: appliance models remove {name}").format(name=shlex.quote(staging.name)),
        ) from error
    (staging / manifest.NAME).unlink(missing_ok=True)


def no_manifest(folder: Path) -> ApplianceError:
    """A folder that never became whole, or that was put there by hand."""
    return ApplianceError(
        _("{name} is not a whole model.").format(name=folder.name),
        _("It has no manifest ({file}), so nobody knows what belongs to it.").format(file=manifest.NAME),
        _("Finish its download (appliance models list says how), or import the folder: appliance models import FOLDER"),
    )
