"""Jobs: see, watch, stop, resume, remove."""

from __future__ import annotations

from typing import Any

from appliance import files, output, questions
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, all_jobs
from appliance.jobs.watch import failure
from appliance.locale import _
from appliance.menu import pick
from appliance.show import job as show_job

_SHOWN = 12  # as many as an 80×24 screen holds


def show(_hardware: Any) -> None:
    """Choose a job, then what to do with it."""
    found = all_jobs()
    if not found:
        output.note(_("There are no jobs yet."))
        return
    choices: list[tuple[str, Job | None]] = [(f"{_padded(job.state().word)} {job.id}", job) for job in found[:_SHOWN]]
    if len(found) > _SHOWN:
        output.note(_("The newest {n}; all of them: appliance jobs list").format(n=_SHOWN))
    job = questions.choose(_("Which job?"), [*choices, (_("back"), None)])
    if job is not None:
        _one(job)


def _padded(word: str, cells: int = 8) -> str:
    """Filled up to a width as the terminal counts it: a Chinese character takes two cells."""
    from rich.cells import cell_len

    return word + " " * (cells - cell_len(word))


def _one(job: Job) -> None:
    state = job.state()
    show_job(job)
    if state.state == "failed":
        output.error(failure(job, state))
    actions = [(_("watch"), "watch"), (_("stop: save and end"), "stop")] if state.active else []
    if prepare.lost_too_much(job):  # gone on with, it would only say the same again
        actions.append((_("keep it all the same"), "keep"))
    elif state.state in ("failed", "stopped"):
        actions.append((_("resume: go on from the last good state"), "resume"))
    actions.append((_("show the log"), "log"))
    if not state.active:
        actions.append((_("remove"), "remove"))
    action = questions.choose(_("What now?"), [*actions, (_("back"), "")])
    if action == "watch":
        pick.follow(job)
    elif action == "stop":
        with output.waiting(_("stopping")):
            now = control.stop(job)
        output.good(_("{id} is {state}.").format(id=job.id, state=now.word))
    elif action == "resume":
        pick.follow(control.resume(job))
    elif action == "keep":
        prepare.accept(job)
        pick.follow(control.resume(job))
    elif action == "log":
        text = job.log.read_text(encoding="utf-8", errors="replace") if job.log.exists() else ""
        output.say("\n".join(text.splitlines()[-18:]) or _("(empty)"))
    elif action == "remove":
        size = output.size(files.folder_size(job.folder))
        if questions.yes(_("Delete {id} with all it made ({size})?").format(id=job.id, size=size), default=False):
            control.remove(job)
            output.good(_("Removed."))
