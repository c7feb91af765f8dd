"""Quantise a model."""

from __future__ import annotations

from typing import Any

from appliance import output, questions
from appliance.engines import NotInstalled
from appliance.errors import ApplianceError
from appliance.hub import workspace
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job
from appliance.locale import _
from appliance.menu import pick, rows, serve

_OTHER = "another scheme"


def show(hardware: Any) -> None:
    """Which model, with which rows; then the job. What has lost much is kept only after a yes."""
    here = [model for model in workspace.list_models() if model.complete and not model.quantised]
    if not here:
        output.note(_("There is no model to quantise yet: download one (entry 1), or merge one (entry 4)."))
        return
    model = questions.choose(_("Which model?"), [(item.name, item.folder) for item in here])
    known = prepare.taught_with(model)
    mine = known is not None and questions.yes(
        _("Use the rows that it was taught with ({file})?").format(file=known.name)
    )
    file = str(known) if mine else pick.data_file()
    words = {} if mine else rows.look_at(file)
    how = {("mapping" if word == "map" else word): value for word, value in words.items() if word != "task"}
    job = _start(str(model), file, how)
    if job is not None and prepare.lost_too_much(job):
        if not questions.yes(_("Keep it all the same?"), default=False):
            output.note(
                _("It waits in its job. Remove it with: {command}").format(
                    command=prepare.command("jobs", "remove", job.id)
                )
            )
            return
        prepare.accept(job)
        pick.follow(control.resume(job))
    if job is not None and job.state().state == "done" and questions.yes(_("Serve it now?")):
        serve.ask_and_start(str((job.result or {})["model"]))


def _start(model: str, file: str, how: dict[str, Any]) -> Job | None:
    """What suits this machine, or another scheme."""
    from appliance.planning.quantising import NAMES

    scheme = "auto"
    while True:
        try:
            with output.waiting(_("planning")):
                draft = prepare.quantize(model, file, scheme=scheme, **how)
        except NotInstalled as missing:
            output.note(f"{missing.what} {missing.why}")
            job = pick.start(prepare.install(missing.name))
            if job is None or job.state().state != "done":
                return None
            continue
        except ApplianceError as problem:
            if scheme != "auto":
                raise
            output.error(problem)
            chosen: Any = _OTHER
        else:
            chosen = pick.start(draft, extra=[(_("another scheme"), _OTHER)])
        if chosen != _OTHER:
            return chosen if isinstance(chosen, Job) else None
        choices: list[tuple[str, Any]] = [(name, key) for key, name in NAMES.items()]
        scheme = questions.choose(_("Which scheme?"), [*choices, (_("back"), None)])
        if scheme is None:
            return None
