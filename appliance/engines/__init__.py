"""Model servers: one file each, chosen with a reason, and the guard that stands in front of all of them.

What is imported here also loads inside an engine's process, together with the guard: the standard library only.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

from appliance import settings
from appliance.engines import installable
from appliance.engines.base import Engine
from appliance.engines.installable import NotInstalled
from appliance.engines.lmdeploy import Lmdeploy
from appliance.engines.sglang import Sglang
from appliance.engines.transformers import Transformers
from appliance.engines.vllm import Vllm
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

__all__ = ["ENGINES", "WORDS", "Engine", "NotInstalled", "by_name", "cards", "choose", "faster", "is_installed"]

ENGINES: dict[str, Engine] = {each.name: each for each in (Vllm(), Lmdeploy(), Sglang(), Transformers())}
WORDS = ("auto", *ENGINES)
# In this order, where nobody asks for another; SGLang only when asked for.
_FAST = ("vllm", "lmdeploy")


def by_name(name: str) -> Engine:
    """The engine of this name. Raises UsageError for another word."""
    if name not in ENGINES:
        raise UsageError(
            _("There is no engine {name}.").format(name=name),
            next_step=_("Choose one of: {names}.").format(names=", ".join(WORDS)),
        )
    return ENGINES[name]


def choose(hardware: Any, wish: str = "auto") -> tuple[Engine, str]:
    """The engine for this machine and, for a person, why.

    `hardware.accelerators` have `kind`, `name` and `compute_capability` ("8.9"). Raises ApplianceError when the wished
    engine can't run here, NotInstalled when a job must install it first.
    """
    if wish != "auto":
        engine = by_name(wish)
        if engine.name != "transformers" and _card(engine, hardware) is None:
            raise _no_card(engine)
        if not is_installed(engine):
            raise NotInstalled(installable.of_engine(engine)) if _installable(engine, hardware) else _not_here(engine)
        return engine, _("You asked for {name}.").format(name=engine.name)
    for name in _FAST:
        card = _card(ENGINES[name], hardware)
        if card is not None and card.kind == "cuda" and is_installed(ENGINES[name]):
            return ENGINES[name], {
                "vllm": _("vLLM: the fastest server for {card}."),
                "lmdeploy": _("LMDeploy: the fastest server for {card}, for which vLLM has no code."),
            }[name].format(card=card.name)
    if better := faster(hardware):
        engine, card = better
        return ENGINES["transformers"], _(
            "transformers: {name} would be faster on {card}, but is not installed here "
            "(appliance install {name}: {gib:.1f} GiB)."
        ).format(name=engine.name, card=card.name, gib=engine.download_gib)
    return ENGINES["transformers"], _(
        "transformers: runs everywhere. vLLM would need an NVIDIA card with compute capability 7.5 or more."
    )


def faster(hardware: Any) -> tuple[Engine, Any] | None:
    """The engine that would be chosen here if it were installed, and its card; None where the best is here already."""
    for name in _FAST:
        engine = ENGINES[name]
        card = _card(engine, hardware)
        if card is not None and card.kind == "cuda":
            return None if is_installed(engine) else (engine, card)
    return None


def is_installed(engine: Engine) -> bool:
    """Whether its environment is there, as it came or as a job installed it."""
    return settings.python_of(engine.environment).exists()


def _installable(engine: Engine, hardware: Any) -> bool:
    """Whether its lock is for this machine: NVIDIA cards, Linux on x86-64."""
    card = _card(engine, hardware)
    here = sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")
    return bool(engine.download_gib and here and card is not None and card.kind == "cuda")


def cards(engine: Engine, hardware: Any) -> list[Any]:
    """The accelerators that the engine runs on."""
    return [
        card
        for card in hardware.accelerators
        if card.kind in engine.kinds
        and (card.kind != "cuda" or _capability(card.compute_capability) >= engine.oldest_capability)
    ]


def _card(engine: Engine, hardware: Any) -> Any | None:
    """The first of them; None where there is none."""
    return next(iter(cards(engine, hardware)), None)


def _capability(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (text or "0.0").split("."))


def _no_card(engine: Engine) -> ApplianceError:
    needed = {
        "lmdeploy": _(
            "It needs an NVIDIA card with compute capability 7.0 or more (V100, or newer), or an Ascend card."
        ),
    }.get(
        engine.name,
        _("It needs an NVIDIA card with compute capability 7.5 or more (T4, RTX 20 series, or newer)."),
    )
    called = {"vllm": "vLLM", "lmdeploy": "LMDeploy", "sglang": "SGLang"}[engine.name]
    return ApplianceError(
        _("{name} can't run on this machine.").format(name=called), needed, _("Choose --engine transformers.")
    )


def _not_here(engine: Engine) -> ApplianceError:
    return ApplianceError(
        _("The engine {name} is not installed.").format(name=engine.name),
        _(
            "It can't be installed by a job here: its lock is for NVIDIA cards on 64-bit Linux. {folder} is not there."
        ).format(folder=settings.environments_folder() / engine.environment),
        _("Put an environment with {name} there yourself (docs/serving.md says how), or choose --engine auto.").format(
            name=engine.name
        ),
    )
