"""`appliance estimate`: its words to settings, and the estimate for a model's folder. A config.json is enough."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from appliance.errors import UsageError
from appliance.locale import _
from appliance.planning.estimate import Estimate, estimate_training
from appliance.planning.serving_estimate import Serving, estimate_serving, usual_prompt
from appliance.planning.shape import MODULES, Shape, read_shape
from appliance.planning.trained import GALORE
from appliance.planning.training import ATTENTIONS, FIGURES, LOSSES, METHODS, SHARDINGS, TASKS, Training, usual_loss
from appliance.planning.way import COSTS_LIKE
from appliance.planning.weights import KINDS

# Other names for the same thing, as other trainers write them.
_TASKS = {"rm": "reward", "seq_cls": "reward", "embedding": "reward", "reranker": "reward", "load": "serve"}
_LOSSES = {"none": "plain", "full": "plain", "liger": "fused", "cce": "fused", "cut_cross_entropy": "fused"}
_ATTENTIONS = {"auto": "sdpa", "default": "sdpa", "torch_sdpa": "sdpa", "fa2": "flash", "fa3": "flash", "flex": "sdpa"}
_SHARDINGS = {"fsdp2": "fsdp", "fsdp1": "fsdp", "zero1": "ddp", "deepspeed": "zero2"}
# What a module of a linear layer is called by the usual families; "embed" and "head" are trained whole.
_TARGETS = {
    "q": "q_proj query wq q", "k": "k_proj key wk k", "v": "v_proj value wv v",
    "o": "o_proj out_proj output_proj wo projection dense o attn.c_proj",
    "gate": "gate_proj w1 gate", "up": "up_proj w2 up fc1 fc_1 dense_h_to_4h c_fc",
    "down": "down_proj w3 down fc2 fc_2 dense_4h_to_h mlp.c_proj",
    "q k v": "qkv_proj qkv c_attn w_pack query_key_value wqkv in_proj in_proj_qkv in_proj_qkvz in_proj_ba attn",
    "gate up": "gate_up_proj", "gate up down": "mlp", "o down": "c_proj", "head": "head",
    "embed": "embed_tokens wte tok_embeddings embed word_embeddings", "whole head": "lm_head output_layer",
}  # fmt: skip
_ROLES = {name: role for role, names in _TARGETS.items() for name in names.split()}
_LIMITS = {
    "rank": (1, 4096), "batch": (1, 65536), "length": (1, 2**24), "prompt": (1, 2**24), "gpus": (1, 4096),
    "generations": (1, 65536),
}  # fmt: skip

# Smaller parts are not worth a line, in GiB.
LEAST_SHOWN = 0.005


def estimate_folder(folder: Path, words: Mapping[str, Any]) -> Estimate:
    """The estimate for the model in a folder, which needs no more than a config.json.

    Raises ApplianceError for a folder without one, UsageError for wrong words (all of them at once).
    """
    settings = read_settings(words)
    shape = read_shape(folder)
    return estimate_any(shape, settings)


def estimate_any(shape: Shape, settings: Training | Serving) -> Estimate:
    """Training or serving, whichever was meant."""
    if isinstance(settings, Serving):
        return estimate_serving(shape, settings)
    return estimate_training(shape, settings)


def rows(made: Estimate) -> list[tuple[str, str]]:
    """(label, value) of the total and of every part that is worth a line."""
    total = _("{total:.2f} GiB (between {low:.2f} and {high:.2f})")
    lines = [(_("Memory"), total.format(total=made.total_gib, low=made.low_gib, high=made.high_gib))]
    return lines + [(part_name(name), f"{size:.2f} GiB") for name, size in made.parts.items() if size >= LEAST_SHOWN]


def part_name(part: str) -> str:
    """What a part of an estimate is called for a person."""
    names = {
        "weights": _("Weights"),
        "adapter": _("Adapter"),
        "gradients": _("Gradients"),
        "optimizer": _("Optimizer"),
        "activations": _("Activations"),
        "logits": _("Logits"),
        "reference": _("Reference model"),
        "communication": _("Exchange between cards"),
        "kv_cache": _("Keys and values"),
        "workspace": _("Workspaces"),
        "fragmentation": _("Gaps between blocks"),
        "context": _("CUDA itself"),
    }
    return names.get(part, part)


def read_settings(words: Mapping[str, Any]) -> Training | Serving:
    """Settings from the command's words; those that are None or missing have their defaults.

    task sft … | serve · method · rank · targets ("all-linear", or names with commas) · batch · length · optimizer ·
    checkpointing (yes | no) · attention · loss · quant · gpus · sharding · figure · device · prompt · generations.
    Raises UsageError with every problem.
    """
    given = {name: value for name, value in words.items() if value is not None}
    problems: list[str] = []

    def choice(name: str, allowed: tuple[str, ...], default: str, others: Mapping[str, str]) -> str:
        word = str(given.get(name, default)).strip().lower().replace(" ", "_")
        word = others.get(word, word)
        if word not in allowed:
            text = _("{name}: must be one of {names}, not {given}")
            problems.append(text.format(name=name, names=", ".join(allowed), given=given[name]))
            return default
        return word

    def number(name: str, default: int | None) -> int | None:
        value, (least, most) = given.get(name, default), _LIMITS[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
            text = _("{name}: must be a whole number from {least} to {most}, not {given}")
            problems.append(text.format(name=name, least=least, most=most, given=value))
            return default
        return value

    task = choice("task", (*TASKS, "serve"), "sft", _TASKS)
    common: dict[str, Any] = {
        "length": number("length", 1024),
        "gpus": number("gpus", 1),
        "figure": choice("figure", FIGURES, "device", {}),
        "device": choice("device", ("cuda", "mps", "cpu"), "cuda", {}),
    }
    method, _dash, packed = str(given.get("method", "lora")).lower().partition("-")
    quant, width = _quant(given.get("quant") or packed or None, problems)
    common |= {"quant": quant, "dtype_bytes": width}
    if task == "serve":
        logits = "all" if given.get("loss") and choice("loss", LOSSES, "fused", _LOSSES) == "plain" else "last"
        batch, prompt = number("batch", 1), number("prompt", usual_prompt(common["length"] or 1))
        _raise(problems)
        return Serving(parallel=batch or 1, prompt=prompt, logits=logits, **common)
    if method == "galore":
        given["optimizer"] = GALORE
    method = COSTS_LIKE.get(method, method)
    if method not in METHODS:
        text = _("{name}: must be one of {names}, not {given}")
        problems.append(text.format(name="method", names=", ".join(METHODS), given=given["method"]))
    if method == "full" and quant:
        problems.append(_("quant: full fine-tuning changes the weights themselves, which must not be packed"))
    targets, whole = _targets(given.get("targets"), problems)
    if "flash" in str(given.get("attention")).lower():  # whichever version of it
        given["attention"] = "flash"
    run: dict[str, Any] = {
        "task": task,
        "method": method,
        "rank": number("rank", 16),
        "targets": targets,
        "whole": whole,
        "batch": number("batch", 1),
        "optimizer": _optimizer(str(given.get("optimizer", "adamw_torch")), problems),
        "checkpointing": _yes(given.get("checkpointing", True), problems),
        "attention": choice("attention", ATTENTIONS, "sdpa", _ATTENTIONS),
        "loss": choice("loss", LOSSES, usual_loss(task), _LOSSES),
        "sharding": choice("sharding", SHARDINGS, "none", _SHARDINGS),
        "generations": number("generations", 8),
    }
    _raise(problems)
    return Training(**run, **common)


def module_names(roles: Iterable[str]) -> list[str]:
    """What the usual families call the linear layers of these roles (MODULES)."""
    wanted = set(roles)
    return sorted(name for name, meant in _ROLES.items() if set(meant.split()) <= wanted)


def _raise(problems: list[str]) -> None:
    if problems:
        raise UsageError(
            _("This can't be estimated."), "; ".join(problems), _("See the words: appliance estimate --help"), problems
        )


def _yes(value: Any, problems: list[str]) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in ("yes", "no", "true", "false"):
        problems.append(_("checkpointing: must be yes or no, not {given}").format(given=value))
    return word in ("yes", "true")


def _quant(word: Any, problems: list[str]) -> tuple[str | None, int]:
    """(one of KINDS or None, bytes of a weight that is not packed)."""
    text = str(word or "none").lower()
    if text in ("none", "bf16", "fp16", "bfloat16", "float16", "16bit", "16", "no"):
        return None, 2
    if text in ("fp32", "float32", "32bit", "32"):
        return None, 4
    eight = "8" in text.replace("128", "")
    if text in KINDS:
        return text, 2
    if "nf4" in text or "fp4" in text.replace("mxfp4", "").replace("nvfp4", ""):
        return ("nf4-dq" if "dq" in text or "double" in text else "nf4"), 2
    for part, kind in (
        ("awq", "awq"),
        ("fp8", "fp8"),
        ("gptq", "gptq-int8" if eight else "gptq-int4"),
        ("fp4", "mxfp4"),
    ):
        if part in text:
            return kind, 2
    if re.search(r"(int|bnb[-_.]?|w)?[48][-_ ]?(bits?)?|hqq", text):
        return ("int8" if eight else "gptq-int4"), 2
    problems.append(_("quant: must be one of {names}, not {given}").format(names=", ".join(KINDS), given=word))
    return None, 2


def _optimizer(word: str, problems: list[str]) -> str:
    text = word.strip().lower().removeprefix("torch.optim.")
    if "8bit" in text or "8-bit" in text:
        return "adamw_8bit"
    if "32bit" in text:
        return "paged_adamw_32bit"
    if text.startswith("adam"):
        return "adafactor" if text.startswith("adaf") else "adamw_torch_fused" if "fused" in text else "adamw_torch"
    for name in ("adafactor", "sgd", "lion", "muon", GALORE):
        if text.startswith(name):
            return name
    problems.append(
        _("optimizer: {given} is not known here; adamw_torch, adamw_torch_fused, adamw_8bit …").format(given=word)
    )
    return "adamw_torch"


def _targets(value: Any, problems: list[str]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """(roles that get an adapter, or None for every linear layer; matrices trained whole)."""
    words = [word.strip() for word in (value.split(",") if isinstance(value, str) else value or ["all-linear"])]
    roles: list[str] = []
    whole: list[str] = []
    unknown: list[str] = []
    everything = False
    for word in filter(None, words):
        last = word.lower().rsplit(".", 1)[-1]
        role = _ROLES.get(word.lower()) or _ROLES.get(last)
        if word.lower().replace("_", "-") in ("all-linear", "all"):
            everything = True
        elif role in ("embed", "whole head"):
            whole.append(role.split()[-1])
        elif role:
            roles += role.split()
        elif found := _matching(word):
            roles += found
        else:
            unknown.append(word)
    # Small modules of some families (a gate of one output) have no name here and take next to nothing.
    if unknown and not (roles or whole or everything):
        text = _("targets: {name} is not known here; {names}, all-linear")
        problems.append(text.format(name=", ".join(unknown), names=", ".join(MODULES)))
    return (None if everything or not roles else tuple(dict.fromkeys(roles))), tuple(dict.fromkeys(whole))


def _matching(pattern: str) -> list[str]:
    """Roles that a regular expression means, as PEFT matches it against the modules' whole names."""
    try:
        expression = re.compile(pattern)
    except re.error:
        return []
    names = {role: f"{'self_attn' if role in 'qkvo' else 'mlp'}.{role}_proj" for role in MODULES}
    starts = ("model.layers.0.", "model.language_model.layers.0.", "language_model.model.layers.0.")
    return [role for role, name in names.items() if any(expression.fullmatch(start + name) for start in starts)]
