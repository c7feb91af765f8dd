"""Bring a model here, whole: from a folder, an archive or a hub, through a staging folder renamed at the end."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from appliance import output
from appliance.errors import ApplianceError, UsageError
from appliance.files import folder_size, sync_folder
from appliance.hub import hubs, local, manifest
from appliance.hub.model import inspect, inspect_adapter
from appliance.hub.needed import choose
from appliance.hub.verify import can_be_mended, reopen
from appliance.hub.workspace import ARCHIVES, is_hub_name
from appliance.locale import _

Progress = Callable[[str, int, int, str], None]
_LOOK_SECONDS = 0.2
T = TypeVar("T")


@dataclass(frozen=True)
class _Watch:
    progress: Progress
    check_stopped: Callable[[], None]
    note: Callable[[str], None]


def fetch(
    reference: str,
    *,
    source: str = "auto",
    revision: str | None = None,
    to: Path,
    progress: Progress,
    check_stopped: Callable[[], None],
    note: Callable[[str], None],
) -> Path:
    """Bring a model or an adapter to the folder `to` and return it.

    reference  a local folder, a local archive (.tar, .tar.gz, .tgz, .zip), or owner/name at a hub
    source     auto | modelscope | huggingface, for owner/name
    revision   branch, tag or commit at the hub; None: the newest
    progress   called with (phase, done bytes, total bytes, file); phases: downloading, copying, verifying
    note       called with sentences about what was decided

    `to` appears only when every file is there, is what the hub says it is, and can be used. Until then the files
    stand in `.NAME.partial` beside it; after a cut download they are used again.
    Raises ApplianceError; Stopped from `check_stopped`.
    """
    if source not in ("auto", *hubs.NAMES):
        raise UsageError(
            _("There is no source {source}.").format(source=source), "", _("Choose auto, modelscope or huggingface.")
        )
    watch = _Watch(progress, check_stopped, note)
    to = to.absolute()
    path = Path(reference).expanduser()
    if path.is_dir() or path.is_file():
        return _from_disk(path.absolute(), to, watch)
    if not is_hub_name(reference):
        raise ApplianceError(
            _("{reference} is not here.").format(reference=reference),
            _("There is no such folder or archive, and it is not the name of a model at a hub (owner/name)."),
            _("Check the spelling."),
        )
    return _from_hub(reference, source, revision, to, watch)


def _from_disk(path: Path, to: Path, watch: _Watch) -> Path:
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
            _finish(folder, to, hashes=hashes, **origin)
        except BaseException:
            if not goes_on:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return to


def _from_hub(reference: str, source: str, revision: str | None, to: Path, watch: _Watch) -> Path:
    damaged = can_be_mended(manifest.read(to) or {})
    if _already(reference, revision, to, watch, unsure=revision is not None or damaged):
        return to
    if source == "auto":
        found, sentence = hubs.find(reference, revision, watch.check_stopped)
        watch.note(sentence)
    else:
        found = _waited(lambda: hubs.listing(source, reference, revision), watch)
    try:
        return _from_listing(found, to, watch)
    except hubs.HubFailure as failure:
        if source != "auto":
            raise
        other = hubs.other(found.hub)
        try:
            second = _waited(lambda: hubs.listing(other, reference, revision), watch)
        except ApplianceError:
            raise failure from None
        sentence = _("{hub} failed ({reason}); going on with {other}.")
        reason = f"{failure.what} {failure.why}".strip()
        watch.note(sentence.format(hub=hubs.NAMES[found.hub], reason=reason, other=hubs.NAMES[other]))
        return _from_listing(second, to, watch)


def _from_listing(found: hubs.Listing, to: Path, watch: _Watch) -> Path:
    if _already(found.reference, found.revision, to, watch):
        return to
    by_name = {file.name: file for file in found.files}
    wanted = [by_name[name] for name in choose(by_name)]
    total = sum(file.size for file in wanted)
    with _staging(to) as folder:
        # What a killed try of the client left: it never uses these again.
        for leftover in (folder / ".cache").rglob("*.incomplete"):
            leftover.unlink()
        found_here = {file.name: _verified(file, folder, watch) for file in wanted}
        hashes = {name: sha256 for name, sha256 in found_here.items() if sha256}
        missing = sorted((file for file in wanted if file.name not in hashes), key=lambda file: file.size)
        here = total - sum(file.size for file in missing)
        _check_space(total - here, folder)
        if here:
            watch.note(_("Goes on at {percent} %.").format(percent=100 * here // max(1, total)))
        for file in missing:
            hashes[file.name] = _brought(found, file, folder, here, total, watch)
            here += file.size
        watch.progress("downloading", total, total, "")
        unsure = sum(not (file.sha256 or file.git_sha1) for file in wanted)
        if unsure:
            watch.note(_("{count} files had no checksum at the hub; only their size was checked.").format(count=unsure))
        _remove_others(folder, set(hashes))
        try:
            _finish(folder, to, source=found.hub, reference=found.reference, revision=found.revision, hashes=hashes)
        except ApplianceError:
            # These are the very bytes that the hub lists: trying again would bring the same.
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return to


def _brought(found: hubs.Listing, file: hubs.HubFile, folder: Path, here: int, total: int, watch: _Watch) -> str:
    """Download one file and return its sha256. Twice at most: a flipped byte on the way may be gone the second time."""
    before = folder_size(folder)

    def look() -> None:
        # The two clients have no common way to report, but what they wrote can be seen.
        written = min(max(0, folder_size(folder) - before), file.size)
        watch.progress("downloading", here + written, total, file.name)

    for _attempt in (1, 2):
        _waited(lambda: hubs.download(found, file, folder), watch, look)
        sha256 = _verified(file, folder, watch)
        if sha256:
            return sha256
    raise hubs.damaged(
        found.hub, _("{file} came twice with other bytes than its checksum says.").format(file=file.name)
    )


def _verified(file: hubs.HubFile, folder: Path, watch: _Watch) -> str:
    """The sha256 of a file that is what the hub lists, made durable; "" for one that isn't, which is removed."""
    path = folder / file.name
    if not path.is_file():
        return ""
    size = path.stat().st_size
    sha256, sha1, done = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False), 0
    with path.open("rb") as stream:
        while block := stream.read(4 * 1024 * 1024):
            watch.check_stopped()
            sha256.update(block)
            if file.git_sha1:
                sha1.update(block)
            done += len(block)
            watch.progress("verifying", done, size, file.name)
        os.fsync(stream.fileno())
    if (
        (file.size and size != file.size)
        or (file.sha256 and sha256.hexdigest() != file.sha256.lower())
        or (file.git_sha1 and sha1.hexdigest() != file.git_sha1.lower())
    ):
        path.unlink()
        return ""
    return sha256.hexdigest()


def _waited(work: Callable[[], T], watch: _Watch, look: Callable[[], None] = lambda: None) -> T:
    """Run a client's blocking call beside this thread, so that a stalled hub neither hides progress nor a stop.

    The thread is a daemon: after a stop the worker ends and takes it along.
    """
    result: list[T] = []
    failure: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # handed to the waiting thread
            failure.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    while not ended.wait(_LOOK_SECONDS):
        watch.check_stopped()
        look()
    if failure:
        raise failure[0]
    return result[0]


def _already(reference: str, revision: str | None, to: Path, watch: _Watch, unsure: bool = False) -> bool:
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
    if not any(path.is_file() for path in folder.iterdir()) and not any((folder / ".cache").rglob("*.incomplete")):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_others(folder: Path, keep: set[str]) -> None:
    """Take away the clients' own files and what another revision had left."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in keep:
            path.unlink()


def _finish(folder: Path, to: Path, *, hashes: dict[str, str], **origin: Any) -> None:
    """`origin`: source, reference, revision (and through), as in the manifest."""
    if (folder / "config.json").is_file():
        inspect(folder)
    else:
        inspect_adapter(folder)
    manifest.write(folder, hashes=hashes, **origin)
    for inner in (path for path in folder.iterdir() if path.is_dir()):
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
