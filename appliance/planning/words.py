"""A plan's choices in words: what each is called, and its value beside its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from appliance.locale import _
from appliance.planning.way import method_name

# What a person looks at before a start; the rest is there on demand.
BRIEF = ("method", "dtype", "gpus", "length", "steps", "verdict", "exact")


def _labels() -> dict[str, str]:
    """A choice's name for a person, in the order in which they are read."""
    return {
        "model": _("Model"),
        "verdict": _("Fits?"),
        "exact": _("Counted"),
        "calibration": _("Experience"),
        "device": _("Runs on"),
        "gpus": _("Cards"),
        "profile": _("Profile"),
        "method": _("Method"),
        "dtype": _("Precision"),
        "pictures": _("Pictures"),
        "length": _("Length"),
        "micro_batch": _("Rows at once"),
        "accumulation": _("Accumulation"),
        "checkpointing": _("Checkpointing"),
        "epochs": _("Passes"),
        "steps": _("Steps"),
        "learning_rate": _("Learning rate"),
        "optimizer": _("Optimizer"),
        "padding_free": _("No padding"),
        "packing": _("Packing"),
        "flash": _("FlashAttention"),
        "liger": _("Liger kernels"),
        "neftune": _("NEFTune noise"),
        "rank": _("Rank"),
        "targets": _("Adapted layers"),
    }


def label(choice: str) -> str:
    """A choice by its name for a person."""
    return _labels().get(choice, choice)


def _value(choice: str, value: Any) -> str:
    if choice == "method":
        return method_name(str(value))
    if choice == "verdict":  # the sentence says it
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return f"{value:g}" if isinstance(value, float) else str(value)


def rows(plan: Mapping[str, Any], choices: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """(label, "value: reason") for these choices of a plan, all of them by default."""
    found = []
    # What has no name here comes last.
    for choice in choices or dict.fromkeys((*_labels(), *plan["reasons"])):
        reason = plan["reasons"].get(choice)
        value = plan.get(choice)
        if reason is None:
            continue
        # A value that the sentence itself begins with isn't said twice.
        shown = "" if value is None else _value(choice, value)
        said = not shown or reason.startswith(shown)
        found.append((label(choice), reason if said else _("{value}: {reason}").format(value=shown, reason=reason)))
    return found
