"""2 启动推理."""

from __future__ import annotations

from typing import Any

from appliance import chat, engines, output, questions, settings
from appliance.errors import ApplianceError
from appliance.hardware import probe
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
    model = pick.model(_("Which model should answer?"), hardware, to_learn=False)
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
    if better := engines.faster(probe(settings.home())):
        options["engine"] = _better_engine(*better)
    beside = _adapters(model)
    if beside:
        options["adapters"] = beside
    while True:
        try:
            draft = prepare.serve(model, host=host, **options)
        except engines.NotInstalled as missing:
            job = pick.start(prepare.install(missing.name))
            if job is None or job.state().state != "done":
                return
            continue
        chosen = pick.start(draft, extra=[(_("advanced"), _ADVANCED)])
        if chosen != _ADVANCED:
            return
        options["port"] = int(questions.text(_("Port:"), str(options.get("port", 8000)), check=_is_port))
        name = questions.text(_("Name that clients use (empty: the model's own):"), options.get("name") or "")
        options["name"] = name or None
        options["engine"] = questions.choose(
            _("Engine:"),
            [
                (
                    name
                    if name == "auto" or engines.is_installed(engines.by_name(name))
                    else _("{name} (is installed first: {gib:.1f} GiB)").format(
                        name=name, gib=engines.by_name(name).download_gib
                    ),
                    name,
                )
                for name in engines.WORDS
            ],
        )
        if prepare.has_page():
            options["page"] = questions.yes(_("A chat page for the browser as well?"))


def _better_engine(engine: engines.Engine, card: Any) -> str:
    """Whether to install what would be faster, or to serve with what is here."""
    return str(
        questions.choose(
            _("{name} would be faster on {card}, but is not installed.").format(name=engine.name, card=card.name),
            [
                (_("install it first ({gib:.1f} GiB to download)").format(gib=engine.download_gib), engine.name),
                (_("serve with transformers, at once but slower"), "transformers"),
            ],
        )
    )


def _adapters(model: str) -> list[str]:
    """Which of the adapters that were trained here on this model are served beside it; none is a right answer."""
    folder = prepare.model_folder(model)
    fitting = []
    for job, adapter in prepare.adapters():
        try:
            if prepare.base_of(adapter, "") == folder:
                fitting.append((job.id, str(adapter)))
        except ApplianceError:  # its base is not here
            continue
    if not fitting:
        return []
    chosen = questions.choose(
        _("Adapters were trained on this model. Serve one beside it, under its own name?"),
        [(_("no, the model alone"), ""), *fitting],
    )
    return [str(chosen)] if chosen else []


def _is_port(value: str) -> str | None:
    return None if value.isdigit() and 0 < int(value) < 65536 else _("A number from 1 to 65535.")
