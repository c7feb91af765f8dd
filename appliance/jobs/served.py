"""What a serve job takes from the files that training left: adapters with their names, dtype, chat template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from appliance import files
from appliance.engines import Engine
from appliance.errors import ApplianceError, UsageError
from appliance.hub import model as models
from appliance.locale import _

_TRAINED = "trained-answers.json"


def trained_dtype(folder: Path) -> str | None:
    """The precision that this model or adapter was trained in; None where nothing says so."""
    for name in (models.ADAPTER_MANIFEST, _TRAINED):
        try:
            value = files.read_json(folder / name).get("dtype")
        except (OSError, ValueError, AttributeError):
            continue
        if value in ("float32", "bfloat16", "float16"):
            return str(value)
    return None


def chat_template(folder: Path, base: Path) -> str | None:
    """The file with an adapter's own chat template, where it is not the base's."""
    own = folder / "chat_template.jinja"
    try:
        if own.read_bytes() == (base / "chat_template.jinja").read_bytes():
            return None
    except OSError:
        pass
    return str(own) if own.is_file() else None


def thinks(model: Path, adapters: list[dict[str, Any]]) -> bool:
    """Whether answers begin with thoughts in <think>, which the engine is to tell apart.

    What its template knows, unless it was tuned here: then what the tuned model said at the end of its training. One
    that was tuned on rows without thoughts has none, and a parser would take its whole answer for one.
    """
    try:
        template = (model / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        try:
            template = str(files.read_json(model / "tokenizer_config.json").get("chat_template") or "")
        except (OSError, ValueError, AttributeError):
            return False
    if "<think>" not in template:
        return False
    for folder in (model, *(Path(each["folder"]) for each in adapters)):
        try:
            said = [str(each["answer"]) for each in files.read_json(folder / _TRAINED)["answers"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if said and not any("<think>" in answer for answer in said):
            return False
    return True


def adapters(wanted: list[tuple[str, Path]], base: Path, served: str, engine: Engine) -> list[dict[str, Any]]:
    """[{name, folder, rank}] for `(reference or NAME=reference, folder)`. Raises ApplianceError, UsageError.

    Each must have been trained on a model of `base`'s shape, and be of a kind that the engine can put on a running one.
    """
    made: list[dict[str, Any]] = []
    for words, folder in wanted:
        name = words.partition("=")[0] if "=" in words else _name(folder)
        if not re.fullmatch(r"[\w.-]{1,100}", name) or name in [served, *(each["name"] for each in made)]:
            raise UsageError(
                _("{name} can't be the name of an adapter here.").format(name=name or words),
                _("Names are letters, digits, dots and dashes, and each is given once."),
                "--adapter my-name=FOLDER",
            )
        facts = models.inspect_adapter(folder)
        config = files.read_json(folder / "adapter_config.json")
        _check_kind(name, facts, config, engine)
        _check_base(name, folder, config, base)
        ranks = [facts.rank, *(config.get("rank_pattern") or {}).values()]
        made.append({"name": name, "folder": str(folder), "rank": max(ranks)})
    return made


def _name(folder: Path) -> str:
    return folder.parent.name if folder.name == "adapter" else folder.name


def _check_kind(name: str, facts: models.Adapter, config: dict[str, Any], engine: Engine) -> None:
    plain = facts.peft_type == "LORA" and not config.get("use_dora") and not config.get("modules_to_save")
    if not engine.takes_adapters or facts.peft_type != "LORA" or (engine.name == "vllm" and not plain):
        raise ApplianceError(
            _("The adapter {name} can't be served beside its base.").format(name=name),
            _("This engine can do it with plain LoRA only.")
            if engine.takes_adapters
            else _("{name} serves no adapters by name.").format(name=engine.name),
            _("Merge it and serve the result: appliance merge {folder}").format(folder=facts.folder),
        )


def _check_base(name: str, folder: Path, config: dict[str, Any], base: Path) -> None:
    """The same base, as far as files can tell: the folder it names, or the same shape."""
    try:
        trained_on = Path(files.read_json(folder / models.ADAPTER_MANIFEST)["base"]["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        trained_on = Path(str(config.get("base_model_name_or_path") or ""))
    if trained_on == base or not (trained_on / "config.json").is_file():
        return
    shapes = []
    for model in (trained_on, base):
        described = files.read_json(model / "config.json")
        shapes.append([described.get(key) for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")])
    if shapes[0] != shapes[1]:
        raise ApplianceError(
            _("The adapter {name} was trained on another model.").format(name=name),
            _("It was trained on {name}.").format(name=trained_on),
            _("Serve that one: appliance serve {model} --adapter {folder}").format(model=trained_on, folder=folder),
        )
