"""The workspace's models as jobs know them: which are whole, how far the rest is; export, import, verify, remove."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance import files, output, settings
from appliance.errors import ApplianceError
from appliance.hub import export_plan, manifest, tokens, verify, workspace
from appliance.hub import push as pushing
from appliance.jobs import prepare
from appliance.jobs.control import Draft
from appliance.jobs.folder import Job, all_jobs
from appliance.jobs.sweep import STAGING
from appliance.locale import _

_TAIL_BYTES = 65536  # of a job's events; a line of progress has about 200


@dataclass(frozen=True)
class Entry:
    """A model or an adapter of the workspace, or what is there of one.

    state        whole | damaged | unfinished | coming (a job is bringing it)
    size_bytes   on the disk, as the file system counts it
    done, total  bytes of an unfinished one, as far as its job said; else None
    source, reference, revision   where it is from, as far as it is known
    todo         the command or the sentence that makes it whole; "" for a whole one
    job          the id of the job that brings or brought an unfinished one; "" where there is none
    """

    name: str
    folder: Path
    state: str
    size_bytes: int
    done: int | None = None
    total: int | None = None
    source: str = ""
    reference: str = ""
    revision: str = ""
    todo: str = ""
    job: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "folder": str(self.folder)}

    @property
    def word(self) -> str:
        """Its state for a person, with how far it is."""
        if self.state in ("whole", "damaged"):
            return {"whole": _("whole"), "damaged": _("damaged")}[self.state]
        if not self.total:
            return {"unfinished": _("unfinished"), "coming": _("is coming")}[self.state]
        values = {
            "done": output.size(self.done or 0),
            "total": output.size(self.total),
            "share": f"{100 * (self.done or 0) // self.total}%",
        }
        if self.state == "coming":
            return _("is coming: {done} of {total} ({share})").format(**values)
        return _("unfinished: {done} of {total} ({share})").format(**values)


def entries() -> list[Entry]:
    """Everything in the workspace's models folder, by name."""
    jobs = [job for job in all_jobs() if job.kind == "download"]
    found = [_whole(item.folder, item.complete) for item in workspace.list_models()]
    found += [_whole(item.folder, True) for item in workspace.list_adapters()]
    known = {entry.folder for entry in found}
    found += [_unfinished(item, jobs) for item in workspace.unfinished() if not STAGING.fullmatch(item.folder.name)]
    # An adapter that can't even be read, say.
    for folder in workspace.whole_folders():
        if folder not in known:
            found.append(_whole(folder, False))
    return sorted(found, key=lambda entry: entry.name)


def _whole(folder: Path, complete: bool) -> Entry:
    written = manifest.read(folder) or {"files": {}}
    fine = complete and not manifest.differences(folder, written)
    return Entry(
        folder.name,
        folder,
        "whole" if fine else "damaged",
        _on_disk(folder),
        source=str(written.get("source") or ""),
        reference=str(written.get("reference") or ""),
        revision=str(written.get("revision") or ""),
        todo="" if fine else _todo(folder, written),
    )


def _todo(folder: Path, written: dict[str, Any]) -> str:
    if manifest.marked(written):
        return verify.how_to_mend(folder, written)
    return _("See what is wrong: {command}").format(command=prepare.command("models", "verify", folder.name))


def _unfinished(item: workspace.Unfinished, downloads: list[Job]) -> Entry:
    place = settings.models_folder() / item.name
    job = next((job for job in downloads if (job.described.get("spec") or {}).get("to") == str(place)), None)
    if job is None or not item.folder.name.endswith(".partial"):
        reference = item.name.replace("--", "/", 1)
        if item.folder.name.endswith(".partial") and workspace.is_hub_name(reference):
            todo = _("Goes on with: {command}").format(command=prepare.command("download", reference))
        else:
            reference = ""
            todo = _("Nobody knows where it is from. Move it elsewhere and import it from there, or remove it.")
        return Entry(item.name, item.folder, "unfinished", _on_disk(item.folder), reference=reference, todo=todo)
    state = job.state()
    if state.active:
        todo = _("Watch it: {command}").format(command=prepare.command("jobs", "show", job.id, "--follow"))
    else:
        words = ("download", job.spec["spec"]["reference"]) if state.state == "done" else ("jobs", "resume", job.id)
        todo = _("Goes on with: {command}").format(command=prepare.command(*words))
    done, total = _how_far(job)
    return Entry(
        item.name,
        item.folder,
        "coming" if state.active else "unfinished",
        _on_disk(item.folder),
        done,
        total,
        reference=str(job.spec["spec"].get("reference") or ""),
        todo=todo,
        job=job.id,
    )


def _how_far(job: Job) -> tuple[int | None, int | None]:
    """Bytes done and in all, as the job said last."""
    try:
        with (job.folder / "events.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None, None
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("phase") in ("downloading", "copying") and event.get("total"):
            return int(event["done"]), int(event["total"])
    return None, None


def find(name: str) -> Entry:
    """The entry of a name, of owner/name, or of a folder in the workspace. Raises ApplianceError."""
    wanted = workspace.folder_name(name) if workspace.is_hub_name(name) else name
    every = entries()
    for entry in every:
        if wanted == entry.folder.name or Path(name).expanduser() == entry.folder:
            return entry
    for entry in every:
        if wanted == entry.name or name == entry.reference:
            return entry
    raise ApplianceError(
        _("There is no model {name} in the workspace.").format(name=name),
        _("There are: {models}.").format(models=", ".join(entry.name for entry in every) or _("none yet")),
        _("See them: appliance models list"),
    )


def users(folder: Path) -> list[Job]:
    """The jobs at work whose spec names this folder or something in it: they serve it, learn from it, write it."""
    return [
        job for job in all_jobs() if any(_inside(text, folder) for text in _texts(job.described)) and job.state().active
    ]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _inside(text: str, folder: Path) -> bool:
    if not text.startswith("/") or "\0" in text:
        return False
    try:
        return Path(text).is_relative_to(folder) or Path(text).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def refuse_in_use(name: str, folder: Path) -> None:
    """Raises ApplianceError while a job uses the model."""
    at_work = users(folder)
    if at_work:
        raise ApplianceError(
            _("{name} is in use.").format(name=name),
            _("At work with it: {jobs}.").format(jobs=", ".join(job.id for job in at_work)),
            _("Wait for it, or stop it first: {command}").format(
                command=prepare.command("jobs", "stop", at_work[0].id)
            ),
        )


# --- what can be done with one ----------------------------------------------------------------------------------------


def export(name: str, to: str) -> Draft:
    """A model out to a .tar file or a folder. Everything that can be judged before the first byte is."""
    folder = _folder(name)
    made = export_plan.look(folder, export_plan.target(to, folder.name))
    return Draft(
        kind="export",
        name=folder.name,
        spec={"model": str(folder), "to": str(made.to)},
        facts=[
            (_("What"), _("Write {name} out, for a machine without a network.").format(name=folder.name)),
            (_("To"), str(made.to)),
            (_("Disk"), _("{size} there").format(size=output.size(made.total))),
            (_("Then"), _("on the other machine: {command}").format(command=_import_there(made.to))),
        ],
        command=prepare.command("models", "export", name, "--to", to),
    )


def push(name: str, to: str, public: bool = False) -> Draft:
    """A model of the workspace, or an adapter (also `last`), to a hub: `hf:owner/name` or `modelscope:owner/name`."""
    hub, reference = pushing.parse(to)
    try:
        folder = _folder(name)
    except ApplianceError as error:
        try:
            folder = prepare.adapter_folder(name)
        except ApplianceError:
            raise error from None
    items = pushing.look(folder)
    shown = tokens.NAMES[hub]
    seen = _("everyone sees it there") if public else _("nobody but you sees it there")
    return Draft(
        kind="push",
        name=folder.name,
        spec={"model": str(folder), "hub": hub, "reference": reference, "public": public},
        facts=[
            (_("What"), _("Send {name} to {hub}, {size}.").format(
                name=folder.name, hub=shown, size=output.size(sum(item.size for item in items)))),
            (_("To"), _("{name} at {hub}; {seen}").format(name=reference, hub=shown, seen=seen)),
        ],
        command=prepare.command("models", "push", name, "--to", to, *prepare.flags(public=public, yes=public)),
    )  # fmt: skip


def public_question(to: str) -> str:
    """What a person is asked before everyone may see a model."""
    return _("Everyone can see and copy {name}, and a copy can't be called back. Make it public?").format(name=to)


def _import_there(to: Path) -> str:
    # Where the stick will stand over there is not known, what is on it is.
    return prepare.command("models", "import", f".../{to.name}")


def bring(path: str, to: str | None) -> Draft:
    """A model from a folder or an archive on this machine. `to`: a name in the workspace, or a path."""
    if not Path(path).expanduser().exists():
        raise ApplianceError(
            _("{name} is not there.").format(name=path),
            _("The stick or disk may not be plugged in, or not be mounted."),
            _("Plug it in, and check the path."),
        )
    if to and "/" not in to:
        to = str(settings.models_folder() / workspace.folder_name(to))
    return prepare.download(path, to=to)


def check(name: str | None) -> Draft:
    """Read one model's every byte again, or every model's."""
    folders = [_folder(name)] if name else list(workspace.whole_folders())
    if not folders:
        raise ApplianceError(
            _("There is no whole model in the workspace."),
            "",
            _("Bring one here: appliance download owner/name"),
        )
    if manifest.read(folders[0]) is None:
        raise verify.no_manifest(folders[0])
    size = sum(int(entry["size"]) for f in folders for entry in (manifest.read(f) or {"files": {}})["files"].values())
    shown = folders[0].name if name else _("{n} models").format(n=len(folders))
    return Draft(
        kind="verify",
        name=folders[0].name if name else "all",
        spec={"models": [str(folder) for folder in folders]},
        facts=[
            (_("What"), _("Read every byte of {name} again, {size}.").format(name=shown, size=output.size(size))),
            (_("Memory"), _("little; no GPU")),
        ],
        command=prepare.command("models", "verify", *([name] if name else [])),
    )


def can_mend(entry: Entry) -> bool:
    """Whether `mend` can help; else only a new import or merge can."""
    return entry.state == "damaged" and verify.can_be_mended(manifest.read(entry.folder) or {})


def mend(entry: Entry) -> Draft:
    """Bring the wrong files of a damaged model again, from where it came."""
    through = (manifest.read(entry.folder) or {}).get("through")
    if through:
        return bring(str(through), entry.name)
    default = entry.name == workspace.folder_name(entry.reference)
    return prepare.download(entry.reference, to=None if default else str(entry.folder))


def _folder(name: str) -> Path:
    found = workspace.resolve(name)
    return found if found is not None else find(name).folder


def remove(entry: Entry) -> int:
    """Delete a model, or what is there of one; returns the bytes freed. Raises ApplianceError while a job uses it."""
    refuse_in_use(entry.name, entry.folder)
    if entry.folder.name.endswith(".partial"):
        refuse_in_use(entry.name, entry.folder.with_name(entry.name))
    # Renamed first: a removal cut short leaves a hidden folder, which the next sweep takes, and not half a model.
    trash = entry.folder.with_name(f".{entry.folder.name.strip('.')}.removed")
    shutil.rmtree(trash, ignore_errors=True)
    os.rename(entry.folder, trash)
    files.sync_folder(trash.parent)
    shutil.rmtree(trash, ignore_errors=True)
    return entry.size_bytes


def question(entry: Entry) -> str:
    """What a person is asked before a removal."""
    size = output.size(entry.size_bytes)
    return _("Delete {name}? {size} get free.").format(name=entry.name, size=size)


def _on_disk(folder: Path) -> int:
    """Bytes that a folder takes. A download reserves a file's whole room at once, so sizes say nothing."""
    total = 0
    for root, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue
    return total
