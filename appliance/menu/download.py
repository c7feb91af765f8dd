"""1 下载模型."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import questions, settings
from appliance.hub import workspace
from appliance.jobs import prepare
from appliance.locale import _
from appliance.menu import models, pick


def show(hardware: Any) -> None:
    """From where, which one; then the download as a job."""
    where = questions.choose(
        _("Where is the model?"),
        [
            (_("at a hub: ModelScope or Hugging Face, whichever answers"), "auto"),
            (_("at ModelScope"), "modelscope"),
            (_("at Hugging Face"), "huggingface"),
            (_("on this machine: a folder or an archive"), "local"),
            (_("here already: see, verify, export, remove"), "here"),
        ],
        default=settings.saved().get("source"),
    )
    if where == "here":
        models.show(hardware)
        return
    if where == "local":
        reference = questions.path(
            _("Folder or archive:"),
            check=lambda value: (
                None
                if value and Path(value).expanduser().exists()
                else _("There is nothing of that name. Ctrl-C goes back.")
            ),
        )
        pick.start(prepare.download(reference))
        return
    other = ""
    reference = questions.choose(
        _("Which model?"), [*pick.suggested(hardware), (_("another: type owner/name"), other)]
    ) or questions.text(
        _("owner/name:"),
        check=lambda value: None if workspace.is_hub_name(value) else _("Write owner/name, such as Qwen/Qwen3-0.6B."),
    )
    pick.start(prepare.download(reference, source=where))
