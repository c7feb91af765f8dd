"""Bring a model here, whole: from a folder, an archive or a hub, through a staging folder renamed at the end."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance import output
from appliance.errors import ApplianceError, UsageError
from appliance.files import folder_size, sync_folder
from appliance.hub import hubs, local, manifest
from appliance.hub.model import inspect, inspect_adapter
from appliance.hub.transfer import journal
from appliance.hub.transfer.bring import Progress, Watch, bring, choose_hub, needed_files, waited
from appliance.hub.transfer.limits import DEFAULT, Limits
from appliance.hub.verify import can_be_mended, reopen
from appliance.hub.workspace import ARCHIVES, is_hub_name
from appliance.locale import _

_SHORT_PATIENCE = 0.2  # of the whole, with a hub that another one can stand in for


def fetch(
    reference: str,
    *,
    source: str = "auto",
    revision: str | None = None,
    to: Path,
    progress: Progress,
    check_stopped: Callable[[], None],
    note: Callable[[str], None],
    limits: Limits = DEFAULT,
    kind: hubs.Kind = "model",
) -> Path:
    """Bring a model or an adapter (or a hub's data set, by `kind`) to the folder `to` and return it.

    reference  a local folder, a local archive (.tar, .tar.gz, .tgz, .zip), or owner/name at a hub
    source     auto | modelscope | huggingface, for owner/name
    revision   branch, tag or commit at the hub; None: the newest
    progress   called with (phase, done bytes, total bytes, file); phases: downloading, copying, verifying
               and, from a hub, with keywords: file_done, file_total (bytes), speed (bytes/s), connections, retries,
               waiting (a sentence, "" when it does not wait)
    note       called with sentences about what was decided
    limits     how patient the transfer is

    `to` appears only when every file is there, is what the hub says it is, and can be used. Until then the files
    stand in `.NAME.partial` beside it; after a cut download they are used again.
    Raises ApplianceError; Stopped from `check_stopped`.
    """
    if source not in ("auto", *hubs.NAMES):
        raise UsageError(
            _("There is no source {source}.").format(source=source), "", _("Choose auto, modelscope or huggingface.")
        )
    watch = Watch(progress, check_stopped, note, limits)
    to = to.absolute()
    path = Path(reference).expanduser()
    if kind == "model" and (path.is_dir() or path.is_file()):
        return _from_disk(path.absolute(), to, watch)
    if not is_hub_name(reference):
        raise ApplianceError(
            _("{reference} is not here.").format(reference=reference),
            _("There is no such folder or archive, and it is not the name of a model at a hub (owner/name)."),
            _("Check the spelling."),
        )
    return _from_hub(reference, source, revision, to, watch, kind)


def _from_disk(path: Path, to: Path, watch: Watch) -> Path:
    if path.is_file() and not path.name.lower().endswith(ARCHIVES):
        raise ApplianceError(
            _("{name} is neither a folder nor a known archive.").format(name=path.name),
            _("Known kinds: {kinds}.").format(kinds=", ".join(ARCHIVES)),
            _("Give the model's folder itself."),
        )
    if path == to or to.is_relative_to(path):
        raise ApplianceError(
            _("A model can't be brought into itself."),
            _("{to} lies in {path}.").format(to=to, path=path),
            _("Choose another folder with --to."),
        )
    found = local.look(path)
    origin = found.origin(path)
    if _already(str(origin["reference"]), origin["revision"], to, watch):
        return to
    total = sum(item.size for item in found.items)
    done = 0

    def moved(count: int, name: str) -> None:
        nonlocal done
        done += count
        watch.progress("copying", done, total, name)

    with _staging(to) as folder:
        # Without a carried manifest, files that a killed import left can't be told from others.
        _remove_others(folder, set(found.hashes))
        goes_on = any(folder.iterdir())
        try:
            _check_space(total - folder_size(folder), folder)
            hashes = local.copy(path, found, folder, moved, watch.check_stopped)
            _finish(folder, to, hashes=hashes, kind="model", **origin)
        except BaseException:
            if not goes_on:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return to


def _from_hub(reference: str, source: str, revision: str | None, to: Path, watch: Watch, kind: hubs.Kind) -> Path:
    damaged = can_be_mended(manifest.read(to) or {})
    if _already(reference, revision, to, watch, unsure=revision is not None or damaged):
        return to
    if source == "auto":
        found = choose_hub(reference, revision, watch.limits, watch.check_stopped, watch.note, kind)
    else:
        found = _listing(source, reference, revision, watch, kind)
    if source != "auto":
        return _from_listing(found, to, watch)
    full, given_up, alone = watch.limits, set[str](), False
    while True:
        # Where another hub may help, less patience is right; without it, all of it.
        watch.limits = full if alone else replace(full, patience=full.patience * _SHORT_PATIENCE)
        before, first, other = watch.came, found.hub, hubs.other(found.hub)
        try:
            return _from_listing(found, to, watch)
        except hubs.HubFailure as failure:
            silent, moved = isinstance(failure, hubs.Silence), watch.came > before
            if not silent:
                given_up.add(first)  # it answers, and what it says will not change
            if other in given_up or (alone and not moved):
                raise
            try:
                found = _listing(other, reference, revision, watch, kind)
            except ApplianceError:
                if not silent or alone:
                    raise failure from None
                alone = True
                continue
            alone = not moved
            sentence = _("{hub} failed ({reason}); going on with {other}.")
            reason = f"{failure.what} {failure.why}".strip()
            watch.note(sentence.format(hub=hubs.NAMES[first], reason=reason, other=hubs.NAMES[other]))


def _listing(hub: str, reference: str, revision: str | None, watch: Watch, kind: hubs.Kind) -> hubs.Listing:
    return waited(lambda: hubs.listing(hub, reference, revision, kind), watch.check_stopped)


def _from_listing(found: hubs.Listing, to: Path, watch: Watch) -> Path:
    if _already(found.reference, found.revision, to, watch):
        return to
    wanted = needed_files(found)
    with _staging(to) as folder:
        _take_up(folder, found)
        _remove_others(folder, {file.name for file in wanted} | {journal.NAME})
        _check_space(sum(file.size for file in wanted) - _on_disk(folder, wanted), folder)
        hashes = bring(found, wanted, folder, watch)
        unsure = sum(not (file.sha256 or file.git_sha1) for file in wanted)
        if unsure:
            watch.note(_("{count} files had no checksum at the hub; only their size was checked.").format(count=unsure))
        _remove_others(folder, {*hashes, journal.NAME})
        try:
            _finish(
                folder, to, hashes=hashes, kind=found.kind,
                source=found.hub, reference=found.reference, revision=found.revision,
            )  # fmt: skip
        except ApplianceError:
            # These are the very bytes that the hub lists: trying again would bring the same.
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return to


def _take_up(folder: Path, found: hubs.Listing) -> None:
    """A kill between the manifest and the rename leaves whole files without a journal: they need not come again."""
    written = manifest.read(folder)
    if written and written.get("reference") == found.reference and not (folder / journal.NAME).exists():
        journal.adopt(folder, {name: entry["size"] for name, entry in written["files"].items()})


def _on_disk(folder: Path, wanted: list[hubs.HubFile]) -> int:
    """Bytes of the wanted files that have their room already."""
    total = 0
    for file in wanted:
        try:
            total += min(file.size, 512 * (folder / file.name).lstat().st_blocks)
        except OSError:
            continue
    return total


def _already(reference: str, revision: str | None, to: Path, watch: Watch, unsure: bool = False) -> bool:
    """Whether the target holds just that already. Raises when it holds something else: it is never overwritten.

    `unsure`: a revision may be a branch, so another one than in the manifest has to be looked up first.
    """
    if not os.path.lexists(to):
        return False
    if to.is_dir() and not any(to.iterdir()):
        return False
    written = manifest.read(to) or {}
    same = written.get("reference") == reference
    if same and (revision is None or written.get("revision") == revision) and not manifest.differences(to, written):
        watch.note(_("Already here, nothing to do: {folder}").format(folder=to))
        return True
    if same and unsure:
        return False
    if same and can_be_mended(written) and written.get("revision") == revision:
        watch.note(_("Damaged files are brought again: {files}").format(files=", ".join(manifest.marked(written)[:5])))
        right = {
            name: entry["size"] for name, entry in written["files"].items() if name not in manifest.marked(written)
        }
        journal.adopt(to, right)
        reopen(to, to.with_name(f".{to.name}.partial"))
        return False
    raise ApplianceError(
        _("{folder} is taken.").format(folder=to),
        _("It holds {reference} at revision {revision}, or files were changed.").format(
            reference=written["reference"], revision=written.get("revision")
        )
        if written
        else _("It holds files that did not come from here."),
        _("Choose another folder with --to, or remove this one first. Nothing is overwritten."),
    )


@contextmanager
def _staging(to: Path) -> Iterator[Path]:
    """`.NAME.partial` beside the target, locked against a second download. An empty one is removed again."""
    folder = to.with_name(f".{to.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    mine = False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = folder.exists() and os.path.samestat(os.fstat(handle), folder.stat())
        except BlockingIOError:
            pass
        if not mine:
            raise ApplianceError(
                _("Another job is bringing {name} here.").format(name=to.name),
                _("Two can't write the same folder."),
                _("Wait for it: `appliance jobs list`."),
            )
        yield folder
    finally:
        if mine and folder.is_dir():
            _drop_when_empty(folder)
        os.close(handle)


def _drop_when_empty(folder: Path) -> None:
    if not any(path.is_file() and path.name != journal.NAME for path in folder.rglob("*")):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_others(folder: Path, keep: set[str]) -> None:
    """Take away what another revision had left, and what is no part of the model."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.is_symlink() or path.relative_to(folder).as_posix() not in keep:
            path.unlink()


def _finish(folder: Path, to: Path, *, hashes: dict[str, str], kind: hubs.Kind, **origin: Any) -> None:
    """`origin`: source, reference, revision (and through), as in the manifest."""
    if kind == "model":
        if (folder / "config.json").is_file():
            inspect(folder)
        else:
            inspect_adapter(folder)
    manifest.write(folder, hashes=hashes, **origin)
    (folder / journal.NAME).unlink(missing_ok=True)  # not before the manifest is there: see _take_up
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        sync_folder(inner)
    sync_folder(folder)
    folder.rename(to)  # onto an empty folder at most: anything else was refused before
    sync_folder(to.parent)


def _check_space(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    wanted = int(needed * 1.05)
    if free < wanted:
        raise ApplianceError(
            _("The disk has too little room."),
            _("{needed} are needed and {free} are free in {folder}.").format(
                needed=output.size(wanted), free=output.size(free), folder=folder.parent
            ),
            _("Free some space, or choose another disk with --to (or APPLIANCE_HOME for the whole workspace)."),
        )
