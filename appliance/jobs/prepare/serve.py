"""An OpenAI-compatible address for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.hub import model as models
from appliance.jobs import served as served_files
from appliance.jobs.control import Draft
from appliance.jobs.prepare.adapters import adapter_folder, refuse_judge
from appliance.jobs.prepare.words import command, flags, model_folder
from appliance.locale import _


def serve(
    model: str,
    *,
    engine: str = "auto",
    host: str | None = None,
    port: int = 8000,
    name: str | None = None,
    length: int | None = None,
    adapters: Sequence[str] = (),
    key_file: str | None = None,
    no_key: bool = False,
    log_requests: bool = False,
) -> Draft:
    """An OpenAI-compatible address for a model. A key always guards it, unless it is refused on loopback.

    adapters      what is served beside the model: a folder, a fine-tune's id or `last`, as it is or as NAME=REFERENCE
    log_requests  whether requests and answers are written into the workspace
    """
    from dataclasses import replace

    from appliance import engines
    from appliance.engines import ports
    from appliance.hardware import probe
    from appliance.planning.serving import engine_options, serving_plan
    from appliance.planning.shape import read_shape

    if (Path(model).expanduser() / "adapter_config.json").is_file() and not (Path(model) / "config.json").is_file():
        raise ApplianceError(
            _("{name} is an adapter, not a model of its own.").format(name=model),
            "",
            _(
                "Merge it (appliance merge {name}), "
                "or serve it beside its base (appliance serve BASE --adapter {name})."
            ).format(name=model),
        )
    folder = model_folder(model)
    if not 0 < port < 65536:
        raise UsageError(_("{port} is no port.").format(port=port), "", _("A number from 1 to 65535, such as 8000."))
    asked_host, host = host, host or settings.serving_host(no_key)
    facts = models.inspect(folder, need_chat_template=True)
    hardware = probe(settings.home())
    chosen, reason = engines.choose(hardware, engine)
    if no_key and not ports.is_loopback(host):
        raise ApplianceError(
            _("Serving on {host} without a key is refused.").format(host=host),
            _("Anyone who reaches this machine could use the model."),
            _("Leave --no-key away, or serve on 127.0.0.1."),
        )
    served = name or folder.name
    beside_folders = [(words, adapter_folder(words.rpartition("=")[2])) for words in adapters]
    for _words, each in beside_folders:
        refuse_judge(each)
    beside = served_files.adapters(beside_folders, folder, served, chosen.name)
    shape = read_shape(folder)
    trained = served_files.trained_dtype(Path(beside[0]["folder"]) if beside else folder)
    if trained and not facts.quantised:
        shape = replace(shape, dtype=trained)
    room = serving_plan(hardware, shape, length=length, most_parallel=chosen.most_parallel)
    options = {**engine_options(room), "family": facts.model_type}
    if len(beside) == 1:
        options["chat_template"] = served_files.chat_template(Path(beside[0]["folder"]), folder)
    keys = None if no_key else Path(key_file).expanduser().absolute() if key_file else settings.keys_folder()
    log = settings.requests_file(served.replace("/", "-")) if log_requests else None
    return Draft(
        kind="serve",
        name=served,
        spec={
            "model": str(folder),
            "name": served,
            "host": host,
            "port": port,
            "engine": chosen.name,
            "keys": str(keys) if keys else None,
            "log": str(log) if log else None,
            "adapters": beside,
            "options": options,
        },
        accelerators=room.accelerators,
        uuids=room.uuids,
        facts=[
            (_("What"), _("Serve {name} behind an OpenAI-compatible address.").format(name=served)),
            (_("Engine"), reason),
            (_("Address"), f"http://{host}:{port}/v1"),
            (_("Key"), str(keys) if keys else _("none: only this machine can reach it")),
            *([(_("Adapters"), ", ".join(each["name"] for each in beside))] if beside else []),
            *([(_("Request log"), str(log))] if log else []),
            (_("Memory"), room.sentence),
            (_("Disk"), _("none; the model has {n:.1f} GiB already").format(n=facts.size_bytes / 2**30)),
        ],
        command=command(
            "serve",
            model,
            *flags(
                engine=None if engine == "auto" else engine,
                host=asked_host,
                port=port,
                name=name,
                length=length,
            ),
            *(word for each in adapters for word in ("--adapter", each)),
            *flags(key_file=key_file, no_key=no_key, log_requests=log_requests),
        ),
    )
