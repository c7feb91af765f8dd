"""A job from the command line: submitted, shown until it ends, answered."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from appliance import output, show
from appliance.attend import attend, show_address
from appliance.jobs import control, folder
from appliance.jobs.watch import failure
from appliance.locale import _

Detach = Annotated[bool, typer.Option("--detach", help=_("Return as soon as the job runs (serve: answers)."))]


def do(draft: control.Draft, detach: bool) -> None:
    """Submit, show until it ended, answer. A serve with --detach returns once it answers."""
    from appliance.show import facts

    facts(draft)
    job = control.submit(draft)
    see_through(job, detach)


def see_through(job: folder.Job, detach: bool) -> None:
    """Show a job until it ended and answer. With --detach return when it runs, for a serve when it answers."""
    if detach and job.kind != "serve":
        output.answer(job.as_dict(), lambda: output.good(_("Started: {id}").format(id=job.id)))
        return
    state = watch(job, until_ready=job.kind == "serve")
    _answer(job, state)
    if job.kind == "serve" and state.active and not detach:
        finish(job, watch(job))


def watch(job: folder.Job, until_ready: bool = False) -> folder.State:
    """Watch; a person who leaves the job running ends the command."""
    state = attend(job, until_ready)
    if state is None:
        raise typer.Exit(130)
    return state


def _answer(job: folder.Job, state: folder.State) -> None:
    """The job's answer once it ended or is ready; failed is exit code 1, stopped 130."""
    if output.is_json():
        output.answer(job.as_dict())
        if not (job.kind == "serve" and state.active):
            raise typer.Exit({"done": 0, "stopped": 130}.get(state.state, 1))
        return
    if job.kind == "serve" and state.active:
        show_address(job)
        return
    finish(job, state)


def finish(job: folder.Job, state: folder.State) -> None:
    """The end of a job in words; failed raises, stopped is exit code 130."""
    if state.state == "failed":
        if output.is_json():
            raise typer.Exit(1)
        raise failure(job, state)
    if not output.is_json():
        show.job(job)
    if state.state == "stopped":
        output.note(_("Stopped. Go on later: appliance jobs resume {id}").format(id=job.id))
        raise typer.Exit(130)
    if not output.is_json():
        _what_next(job)


def _what_next(job: folder.Job) -> None:
    result = job.result or {}
    hints = {
        "download": f"appliance finetune --model {Path(result.get('model', 'M')).name} --data FILE",
        "finetune": f"appliance merge {job.id}",
        "merge": f"appliance serve {result.get('name', 'M')}",
        "quantize": f"appliance serve {result.get('name', 'M')}",
    }
    if result.get("made"):  # all weights learned: there is nothing to merge
        hints["finetune"] = f"appliance serve {Path(result['made']).name}"
    if result.get("task") == "reward":  # it says nothing, so it is neither merged nor served
        del hints["finetune"]
    if result.get("data"):
        hints["download"] = f"appliance data check {shlex.quote(result['data'][0])}"
    if job.kind in hints:
        output.note(_("Next: {command}").format(command=hints[job.kind]))
