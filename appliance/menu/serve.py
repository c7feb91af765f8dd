"""2 启动推理."""

from __future__ import annotations

from typing import Any

from appliance import chat, output, questions, settings
from appliance.jobs import prepare
from appliance.jobs.folder import serving
from appliance.locale import _
from appliance.menu import pick

_ADVANCED = "advanced"


def show(hardware: Any) -> None:
    """Talk to a server that runs; or which model, for whom, then the server as a job."""
    servers = chat.running()
    if servers:
        choices = [(_("talk to {name}").format(name=serving(job)["model"]), job.id) for job in servers]
        chosen = questions.choose(_("Servers are running."), [*choices, (_("start another one"), "")])
        if chosen:
            chat.talk(chat.at(chosen))
            return
    model = pick.model(_("Which model should answer?"), hardware)
    if pick.bring_here(model):
        ask_and_start(model)


def ask_and_start(model: str) -> None:
    """For whom; start."""
    host = None
    if settings.in_image():
        output.note(_("Docker decides who gets in: docker run -p 127.0.0.1:8000:8000 … lets this machine in only."))
    else:
        host = questions.choose(
            _("Who may ask it?"),
            [
                (_("programs on this machine"), "127.0.0.1"),
                (_("everyone in the network who has the key"), "0.0.0.0"),  # noqa: S104
            ],
        )
    options: dict[str, Any] = {"page": prepare.has_page()}
    while True:
        chosen = pick.start(prepare.serve(model, host=host, **options), extra=[(_("advanced"), _ADVANCED)])
        if chosen != _ADVANCED:
            return
        options["port"] = int(questions.text(_("Port:"), str(options.get("port", 8000)), check=_is_port))
        name = questions.text(_("Name that clients use (empty: the model's own):"), options.get("name") or "")
        options["name"] = name or None
        options["engine"] = questions.choose(
            _("Engine:"), [("auto", "auto"), ("vllm", "vllm"), ("transformers", "transformers")]
        )
        if prepare.has_page():
            options["page"] = questions.yes(_("A chat page for the browser as well?"))


def _is_port(value: str) -> str | None:
    return None if value.isdigit() and 0 < int(value) < 65536 else _("A number from 1 to 65535.")
