"""A plan's choices in words: what each is called, and its value beside its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from appliance.locale import _

# What a person looks at before a start; the rest is there on demand.
BRIEF = ("method", "dtype", "length", "steps", "verdict")

METHOD_NAMES = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "lora+": "LoRA+",
    "pissa": "PiSSA",
}


def label(choice: str) -> str:
    """A choice by its name for a person."""
    return {
        "model": _("Model"),
        "device": _("Runs on"),
        "gpus": _("Cards"),
        "profile": _("Profile"),
        "method": _("Method"),
        "dtype": _("Precision"),
        "micro_batch": _("Rows at once"),
        "accumulation": _("Accumulation"),
        "length": _("Length"),
        "steps": _("Steps"),
        "epochs": _("Passes"),
        "checkpointing": _("Checkpointing"),
        "optimizer": _("Optimizer"),
        "learning_rate": _("Learning rate"),
        "rank": _("Rank"),
        "targets": _("Adapted layers"),
        "verdict": _("Fits?"),
        "calibration": _("Experience"),
        "exact": _("Counted"),
    }.get(choice, choice)


def _value(choice: str, value: Any) -> str:
    if choice == "method":
        return METHOD_NAMES.get(value, str(value))
    if choice == "verdict":  # the sentence says it
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return f"{value:g}" if isinstance(value, float) else str(value)


def rows(plan: Mapping[str, Any], choices: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """(label, "value: reason") for these choices of a plan, all of them by default."""
    found = []
    for choice in choices or plan["reasons"]:
        reason = plan["reasons"].get(choice)
        value = plan.get(choice)
        if reason is None:
            continue
        # A value that the sentence itself begins with isn't said twice.
        shown = "" if value is None else _value(choice, value)
        said = not shown or reason.startswith(shown)
        found.append((label(choice), reason if said else _("{value}: {reason}").format(value=shown, reason=reason)))
    return found
