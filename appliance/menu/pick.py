"""Questions that several screens ask: which model, which file, start or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import attend, output, questions, settings, show
from appliance.hub import tokens, workspace
from appliance.hub.model import Model
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, State
from appliance.jobs.watch import failure
from appliance.locale import _

_OTHER = object()


def suggested(hardware: Any) -> list[tuple[str, str]]:
    """(text, owner/name): what a beginner would take here, smallest first, with what this machine makes of it."""
    from appliance.planning import fitting

    can, cannot = _("{name}  (can learn here)"), _("{name}  (too large to learn here)")
    found = fitting.suggested(hardware)
    return [((can if fits else cannot).format(name=m.huggingface), m.huggingface) for m, fits in found]


def model(question: str, hardware: Any, *, to_learn: bool = True) -> str:
    """A model of the workspace, a suggested one, or what a person types. `to_learn`: say which can learn here."""
    here = [(_line(item), str(item.folder)) for item in workspace.list_models()]
    names = {Path(folder).name for _text, folder in here}
    hub = [(text if to_learn else name, name) for text, name in suggested(hardware)]
    hub = [(text, name) for text, name in hub if workspace.folder_name(name) not in names]
    choices: list[tuple[str, Any]] = [*here, *hub, (_("another: a folder or owner/name"), _OTHER)]
    chosen = questions.choose(question, choices)
    if chosen is _OTHER:
        chosen = questions.path(_("Folder or owner/name:"), check=_is_model)
    return str(chosen)


def _line(item: Model) -> str:
    size = output.size(item.size_bytes)
    return f"{item.name}  ({size})" if item.complete else f"{item.name}  ({size}, {_('damaged')})"


def _is_model(value: str) -> str | None:
    if workspace.resolve(value) is not None or workspace.is_hub_name(value):
        return None
    return _("Neither a folder nor owner/name. Ctrl-C goes back.")


def bring_here(reference: str) -> bool:
    """Download what only a hub has; True when the model is on this machine then."""
    try:
        prepare.model_folder(reference)
        return True
    except prepare.NotHere:
        job = start(prepare.download(reference))
        return job is not None and job.state().state == "done"


def data_file() -> str:
    """A file that exists; or the thumbs from chats, where there are some, made into one."""
    from appliance.data import feedback

    if feedback.count(settings.feedback_file()):
        ways = [(_("a file"), False), (_("the thumbs up and down that were given in chats"), True)]
        if questions.choose(_("Which rows?"), ways):
            made = feedback.to_kto(settings.feedback_file(), settings.datasets_folder() / "feedback.jsonl")
            output.pairs(feedback.facts(made))
            return str(made["file"])
    return questions.path(
        _("Your data file (Excel, CSV, JSON, text):"),
        check=lambda value: (
            None if Path(value).expanduser().exists() else _("There is no such file. Ctrl-C goes back.")
        ),
    )


def start(draft: control.Draft, extra: list[tuple[str, Any]] | None = None) -> Job | Any | None:
    """Show what will happen, then start, watch and sum up. None when the person went back; else the job.

    `extra` are more (text, value) choices beside start and back; a chosen value is returned as it is.
    """
    output.say()
    show.facts(draft)
    output.say()
    choice = questions.choose(_("Start?"), [(_("start"), True), *(extra or []), (_("back"), None)], default=True)
    if choice is not True:
        return choice
    job = control.submit(draft)
    follow(job)
    return job


def follow(job: Job) -> State | None:
    """Watch a job and say how it ended. None: left running."""
    state = attend.attend(job, until_ready=job.kind == "serve")
    questions.forget_keys()
    if state is None:
        return None
    if state.state == "failed":
        problem = failure(job, state)
        output.error(problem)
        if _gave_token(problem.token_for):
            return follow(control.resume(job))
    elif job.kind == "serve" and state.active:
        attend.show_address(job)
    else:
        show.job(job)
        if state.state == "done":
            output.good(_("Done."))
    return state


def _gave_token(hubs: list[str]) -> bool:
    """Where a hub's door was closed: ask for the token of one of them, unseen, and keep it."""
    # One that is set outside wins over what would be stored here; the error has said which variable it is.
    hubs = [hub for hub in hubs if tokens.state(hub) != "variable"]
    if not hubs:
        return False
    output.say()
    choices = [(_("give my token for {hub} now (it stays unseen)").format(hub=tokens.NAMES[hub]), hub) for hub in hubs]
    hub = questions.choose(_("Has its owner let you in, and do you have a token?"), [*choices, (_("not now"), "")])
    if not hub:
        return False
    tokens.store(hub, questions.secret(_("Your token for {hub}:").format(hub=tokens.NAMES[hub]), check=tokens.problem))
    output.good(_("Stored; only downloads and pushes read it."))
    return True
