"""What a person asked for, checked: a wish wins over the plan, if it can be had at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from appliance.errors import UsageError
from appliance.locale import _
from appliance.planning.way import METHODS

# What transformers calls them.
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor")
OPTIMIZER_CHOICES = " | ".join(("auto", *OPTIMIZERS))
SWITCHES = ("packing", "padding_free", "flash", "liger", "checkpointing")
# ddp: each card holds the model; fsdp: each a share of it; zero2, zero3: DeepSpeed.
SPLITTING = ("fsdp", "zero2", "zero3")
SHARDINGS = ("ddp", *SPLITTING)
SHARDING_CHOICES = " | ".join(("auto", *SHARDINGS))


@dataclass(frozen=True)
class Wish:
    """None means: decide for me. `batch` is the micro-batch in rows, `length` in tokens, `gpus` cards.

    neftune  strength of the noise on the words' vectors while learning; 0 for none
    """

    method: str | None = None
    rank: int | None = None
    batch: int | None = None
    length: int | None = None
    steps: int | None = None
    epochs: float | None = None
    learning_rate: float | None = None
    gpus: int | None = None
    optimizer: str | None = None
    neftune: float | None = None
    packing: bool | None = None
    padding_free: bool | None = None
    flash: bool | None = None  # attention by the flash_attn package, where it is installed
    liger: bool | None = None
    checkpointing: bool | None = None
    sharding: str | None = None  # of SHARDINGS: how several cards work together


WISHES = tuple(field.name for field in fields(Wish))


def read_wish(values: Mapping[str, Any] | None) -> Wish:
    """A wish from its words; raises UsageError with every problem at once."""
    given = {name: value for name, value in (values or {}).items() if value is not None}
    problems: list[str] = []
    words: dict[str, Any] = {}
    for name, choices in (("method", tuple(METHODS)), ("optimizer", OPTIMIZERS), ("sharding", SHARDINGS)):
        word = given.pop(name, None)
        if word in (None, "auto"):
            continue
        words[name] = word
        if word not in choices:
            names = ", ".join(("auto", *choices))
            problems.append(f"{name}: " + _("must be one of {names}, not {given}").format(names=names, given=word))
    for name in SWITCHES:
        if name in given:
            words[name] = given.pop(name)
            if not isinstance(words[name], bool):
                problems.append(f"{name}: " + _("must be true or false, not {given}").format(given=words[name]))
    limits: dict[str, tuple[type, float, float]] = {
        "rank": (int, 1, 4096),
        "batch": (int, 1, 4096),
        "length": (int, 16, 2**20),
        "steps": (int, 1, 10**9),
        "epochs": (float, 0, 1000),
        "learning_rate": (float, 0, 1),
        "gpus": (int, 1, 64),
        "neftune": (float, 0, 100),
    }
    for name, value in given.items():
        if name not in limits:
            problems.append(f"{name}: " + _("is not known here"))
            continue
        kind, least, most = limits[name]
        number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not number or not least <= value <= most or (not value and name != "neftune"):
            text = _("must be a number from {least} to {most}, not {given}")
            if kind is float and name != "neftune":
                text = _("must be a number above {least}, at most {most}, not {given}")
            problems.append(f"{name}: " + text.format(least=least, most=most, given=value))
    if problems:
        raise UsageError(
            _("These wishes can't be fulfilled."),
            "",
            _("Correct them, or leave them out: then they are decided for you."),
            problems,
        )
    return Wish(**words, **given)
