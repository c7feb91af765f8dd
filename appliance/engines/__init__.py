"""Model servers: one file each, chosen with a reason, and the guard that stands in front of all of them.

What is imported here also loads inside an engine's process, together with the guard: the standard library only.
"""

from __future__ import annotations

from typing import Any

from appliance import settings
from appliance.engines.base import Engine
from appliance.engines.transformers import Transformers
from appliance.engines.vllm import Vllm, first_card
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

__all__ = ["ENGINES", "Engine", "by_name", "choose"]

ENGINES: dict[str, Engine] = {"vllm": Vllm(), "transformers": Transformers()}


def by_name(name: str) -> Engine:
    """The engine of this name. Raises UsageError for another word."""
    if name not in ENGINES:
        raise UsageError(
            _("There is no engine {name}.").format(name=name),
            next_step=_("Choose one of: {names}.").format(names=", ".join(["auto", *ENGINES])),
        )
    return ENGINES[name]


def choose(hardware: Any, wish: str = "auto") -> tuple[Engine, str]:
    """The engine for this machine and, for a person, why.

    `hardware.accelerators` have `kind`, `name` and `compute_capability` ("8.9"). Raises ApplianceError when the wished
    engine isn't installed or can't run here.
    """
    card = first_card(hardware)
    if wish != "auto":
        engine = by_name(wish)
        if engine.name == "vllm" and card is None:
            raise ApplianceError(
                _("vLLM can't run on this machine."),
                _("It needs an NVIDIA card with compute capability 7.5 or more (T4, RTX 20 series, or newer)."),
                _("Choose --engine transformers."),
            )
        if not _is_installed(engine):
            raise ApplianceError(
                _("The engine {name} is not installed.").format(name=engine.name),
                _("Its environment {folder} is not there.").format(
                    folder=settings.environments_folder() / engine.environment
                ),
                _("Install it with `requirements/install.sh {environment}`, or choose --engine auto.").format(
                    environment=engine.environment
                ),
            )
        return engine, _("You asked for {name}.").format(name=engine.name)
    if card is None:
        return ENGINES["transformers"], _(
            "transformers: runs everywhere. vLLM would need an NVIDIA card with compute capability 7.5 or more."
        )
    if not _is_installed(ENGINES["vllm"]):
        return ENGINES["transformers"], _(
            "transformers: vLLM would be faster on {card}, but is not installed here."
        ).format(card=card.name)
    return ENGINES["vllm"], _("vLLM: the fastest server for {card}.").format(card=card.name)


def _is_installed(engine: Engine) -> bool:
    return settings.python_of(engine.environment).exists()
