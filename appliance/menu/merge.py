"""4 合并模型."""

from __future__ import annotations

from typing import Any

from appliance import output, questions
from appliance.jobs import prepare
from appliance.locale import _
from appliance.menu import pick, serve


def show(_hardware: Any) -> None:
    """Which adapter; then the merge as a job, and serving when it is done."""
    made = prepare.adapters()
    if not made:
        output.note(_("There is nothing to merge yet: an adapter is what a fine-tune makes (entry 3)."))
    other = ""
    choices = [(f"{job.id}", str(folder)) for job, folder in made] + [(_("another: a folder"), other)]
    adapter = questions.choose(_("Which adapter?"), choices) or questions.path(
        _("Folder of the adapter:"), only_folders=True
    )
    job = pick.start(prepare.merge(adapter))
    if job is not None and job.state().state == "done" and questions.yes(_("Serve it now?")):
        serve.ask_and_start(str((job.result or {})["model"]))
