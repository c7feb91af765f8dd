"""What is in the workspace: see, verify, export, remove, go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from appliance import output, questions
from appliance.errors import UsageError
from appliance.hub import push as pushing
from appliance.hub import tokens
from appliance.jobs import control, models, prepare
from appliance.jobs.folder import all_jobs
from appliance.jobs.sweep import sweep
from appliance.locale import _
from appliance.menu import pick

_SHOWN = 12  # as many as an 80×24 screen holds
_ALL = object()


def show(_hardware: Any) -> None:
    """Choose a model, then what to do with it."""
    sweep()
    found = models.entries()
    if not found:
        output.note(_("There are no models in the workspace yet."))
        return
    if len(found) > _SHOWN:
        output.note(_("The first {n}; all of them: appliance models list").format(n=_SHOWN))
    choices: list[tuple[str, Any]] = [(_line(entry), entry) for entry in found[:_SHOWN]]
    chosen = questions.choose(
        _("Which one?"), [*choices, (_("all: read every byte again"), _ALL), (_("back"), None)]
    )  # fmt: skip
    if chosen is _ALL:
        pick.start(models.check(None))
    elif chosen is not None:
        _one(chosen)


def _line(entry: models.Entry) -> str:
    return f"{entry.name}  ({output.size(entry.size_bytes)}, {entry.word})"


def _one(entry: models.Entry) -> None:
    rows = [(_("Name"), entry.name), (_("State"), entry.word), (_("On the disk"), output.size(entry.size_bytes))]
    if entry.reference:
        hub = tokens.NAMES.get(entry.source)
        commit = entry.revision[:12] if hub else ""
        rows.append((_("From"), " ".join(filter(None, (hub, entry.reference, commit)))))
    output.pairs([*rows, (_("Folder"), str(entry.folder))])
    if entry.todo:
        output.warn(entry.todo)
    job = next((job for job in all_jobs() if job.id == entry.job), None)
    actions = []
    if models.can_mend(entry):
        actions.append((_("mend: bring the wrong files again"), "mend"))
    if entry.state == "coming":
        actions.append((_("watch"), "watch"))
    elif entry.state == "unfinished" and entry.reference:
        actions.append((_("go on with it"), "go on"))
    elif entry.state in ("whole", "damaged"):
        actions.append((_("verify: read every byte again"), "verify"))
    if entry.state == "whole":
        actions.append((_("export: to a stick or disk, for a machine without a network"), "export"))
        actions.append((_("push: to Hugging Face or ModelScope"), "push"))
    if entry.state != "coming":
        actions.append((_("remove"), "remove"))
    action = questions.choose(_("What now?"), [*actions, (_("back"), "")])
    if action == "watch" and job is not None:
        pick.follow(job)
    elif action == "mend":
        pick.start(models.mend(entry))
    elif action == "go on" and job is not None and job.state().state != "done":
        pick.follow(control.resume(job))
    elif action == "go on":
        pick.start(prepare.download(entry.reference))
    elif action == "verify":
        pick.start(models.check(str(entry.folder)))
    elif action == "export":
        pick.start(models.export(str(entry.folder), _target()))
    elif action == "push":
        _push(entry)
    elif action == "remove":
        _remove(entry)


def _target() -> str:
    return questions.path(
        _("To where? A folder (such as the stick's), or NAME.tar:"),
        check=lambda value: (
            None
            if value and (Path(value).expanduser().is_dir() or Path(value).expanduser().absolute().parent.is_dir())
            else _("There is no such folder. Ctrl-C goes back.")
        ),
    )


def _push(entry: models.Entry) -> None:
    hubs: list[tuple[str, Any]] = [(tokens.NAMES["modelscope"], "modelscope"), (tokens.NAMES["huggingface"], "hf")]
    hub = questions.choose(_("To which hub?"), hubs)
    name = questions.text(_("Your name there and a name for it (owner/name):"), check=partial(_place_problem, hub))
    to = f"{hub}:{name.strip()}"
    everyone = questions.choose(
        _("Who may see it?"), [(_("only I"), False), (_("everyone"), True)]
    ) and questions.yes(models.public_question(to), default=False)  # fmt: skip
    pick.start(models.push(str(entry.folder), to, bool(everyone)))


def _place_problem(hub: str, value: str) -> str | None:
    try:
        pushing.parse(f"{hub}:{value.strip()}")
    except UsageError as error:
        return error.why
    return None


def _remove(entry: models.Entry) -> None:
    models.refuse_in_use(entry.name, entry.folder)
    if questions.yes(models.question(entry), default=False):
        freed = models.remove(entry)
        output.good(_("Removed {id}; {size} are free again.").format(id=entry.name, size=output.size(freed)))
