"""An OpenAI-compatible address for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance import files, settings
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
    page: bool = False,
) -> Draft:
    """An OpenAI-compatible address for a model. A key always guards it, unless it is refused on loopback.

    Raises engines.NotInstalled when the wished engine must be installed first (`install`).

    adapters      what is served beside the model: a folder, a fine-tune's id or `last`, as it is or as NAME=REFERENCE
    log_requests  whether requests and answers are written into the workspace
    page          whether a chat page for the browser stands beside it, on the first free port from 7860 on
    """
    from dataclasses import replace

    from appliance import engines
    from appliance.engines import ports
    from appliance.hardware import probe
    from appliance.planning.card import best_card
    from appliance.planning.quantising import served
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
    # Only transformers has bitsandbytes.
    wish = "transformers" if engine == "auto" and facts.quantised == "bitsandbytes" else engine
    chosen, reason = engines.choose(hardware, wish)
    packed = None
    if facts.quantised:
        described = files.read_json(folder / "config.json")["quantization_config"]
        packed = served(described, chosen.name, best_card(hardware)[0])
    if no_key and not ports.is_loopback(host):
        raise ApplianceError(
            _("Serving on {host} without a key is refused.").format(host=host),
            _("Anyone who reaches this machine could use the model."),
            _("Leave --no-key away, or serve on 127.0.0.1."),
        )
    if page and not has_page():
        raise ApplianceError(
            _("The chat page is not installed."),
            _("Its environment {folder} is not there.").format(folder=settings.environments_folder() / "page"),
            _("Install it with `requirements/install.sh page`, or serve without it."),
        )
    if chosen.loopback_only and not ports.is_loopback(host):
        raise ApplianceError(
            _("{name} is served on this machine only.").format(name=chosen.name),
            _("It has flaws through which someone who reaches it could run programs here."),
            _("Serve on 127.0.0.1, or choose another --engine."),
        )
    called = name or folder.name
    beside_folders = [(words, adapter_folder(words.rpartition("=")[2])) for words in adapters]
    for _words, each in beside_folders:
        refuse_judge(each)
    beside = served_files.adapters(beside_folders, folder, called, chosen)
    shape = read_shape(folder)
    trained = served_files.trained_dtype(Path(beside[0]["folder"]) if beside else folder)
    if trained and not facts.quantised:
        shape = replace(shape, dtype=trained)
    if facts.quantised == "compressed-tensors" and chosen.name == "transformers":
        shape = replace(shape, quantised=None, quantised_bits=0)  # unpacked when it is loaded
    room = serving_plan(
        replace(hardware, accelerators=engines.cards(chosen, hardware)),
        shape,
        length=length,
        most_parallel=chosen.most_parallel,
        most_cards=chosen.most_cards,
        kinds=chosen.kinds,
    )
    options = {**engine_options(room), "family": facts.model_type, "thinks": served_files.thinks(folder, beside)}
    if len(beside) == 1:
        options["chat_template"] = served_files.chat_template(Path(beside[0]["folder"]), folder)
    keys = None if no_key else Path(key_file).expanduser().absolute() if key_file else settings.keys_folder()
    log = settings.requests_file(called.replace("/", "-")) if log_requests else None
    return Draft(
        kind="serve",
        name=called,
        spec={
            "model": str(folder),
            "name": called,
            "host": host,
            "port": port,
            "engine": chosen.name,
            "keys": str(keys) if keys else None,
            "log": str(log) if log else None,
            "page": page,
            "adapters": beside,
            "options": options,
        },
        accelerators=room.accelerators,
        uuids=room.uuids,
        facts=[
            (_("What"), _("Serve {name} behind an OpenAI-compatible address.").format(name=called)),
            (_("Engine"), reason),
            *([(_("Quantised"), packed)] if packed else []),
            (_("Address"), f"http://{host}:{port}/v1"),
            (_("Key"), str(keys) if keys else _("none: only this machine can reach it")),
            *([(_("Adapters"), ", ".join(each["name"] for each in beside))] if beside else []),
            *([(_("Chat page"), _("in the browser, behind the same key"))] if page else []),
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
            *flags(key_file=key_file, no_key=no_key, log_requests=log_requests, page=page),
        ),
    )


def has_page() -> bool:
    """Whether the chat page's environment is installed."""
    return settings.python_of("page").exists()
