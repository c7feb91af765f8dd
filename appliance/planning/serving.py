"""What a server can hold here: the longest conversation and how many at once, computed before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.errors import ApplianceError
from appliance.hardware.types import Hardware
from appliance.locale import _
from appliance.planning.card import best_card
from appliance.planning.estimate import Estimate
from appliance.planning.serving_estimate import serving_estimate
from appliance.planning.shape import Shape

# Conversations are rarely longer; more is given when a person asks for it.
_USUAL_LENGTH = 8192
_SHORTEST = 512
_MOST_PARALLEL = {"cuda": 64, "mps": 4, "cpu": 4}
# vLLM's own share of a card; what others hold is taken off below.
_SHARE = 0.9
# bfloat16 needs compute capability 8.0; older silicon gets float16.
_BF16_FROM = (8, 0)
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class ServingPlan:
    """Length in tokens, parallel in conversations of that length, memory_share of the card (0 to 1), memory in GiB."""

    device: str
    accelerators: list[int]
    uuids: list[str | None]
    dtype: str
    length: int
    parallel: int
    memory_share: float
    memory: Estimate
    sentence: str


def serving_plan(
    hardware: Hardware, shape: Shape, *, length: int | None = None, most_parallel: int | None = None
) -> ServingPlan:
    """The longest usual length that fits, then as many conversations as fit. Raises ApplianceError when none does.

    most_parallel  how many conversations the engine answers at once, where it is not the memory that limits them
    """
    card, _why = best_card(hardware)
    device = card.kind if card else "cpu"
    free = card.free_gib if card else hardware.cpu.free_gib
    share = min(_SHARE, max(0.1, (free - 0.5) / card.memory_gib)) if card else 1.0
    room = share * card.memory_gib if card else 0.9 * free
    dtype = shape.dtype
    if dtype == "bfloat16" and card and device == "cuda" and card.capability() < _BF16_FROM:
        dtype = "float16"
    width = _BYTES.get(dtype, 2)
    wanted = length or min(_USUAL_LENGTH, shape.max_positions or _USUAL_LENGTH)

    def need(tokens: int, parallel: int = 1) -> Estimate:
        return serving_estimate(shape, tokens, parallel, width, device)

    fitting = wanted
    while fitting > _SHORTEST and need(fitting).total_gib > room:
        fitting = max(_SHORTEST, fitting // 2)
    if need(min(fitting, wanted)).total_gib > room:
        raise ApplianceError(
            _("This model is too large to be served here."),
            _("It needs {need:.1f} GiB; {room:.1f} GiB are free.").format(need=need(fitting).total_gib, room=room),
            _("Choose a smaller or quantised model, or close what holds the memory (appliance probe)."),
        )
    parallel = 1
    while parallel < (most_parallel or _MOST_PARALLEL[device]) and need(fitting, 2 * parallel).total_gib <= room:
        parallel *= 2
    memory = need(fitting, parallel)
    if parallel == 1:
        sentence = _("{n:.1f} GiB for a conversation of {length} tokens").format(n=memory.total_gib, length=fitting)
    else:
        sentence = _("{n:.1f} GiB for {parallel} conversations of {length} tokens at once").format(
            n=memory.total_gib, parallel=parallel, length=fitting
        )
    if fitting < wanted:
        sentence += _("; {wanted} tokens would not fit").format(wanted=wanted)
    return ServingPlan(
        device,
        [card.index] if card else [],
        [card.uuid] if card else [],
        dtype,
        fitting,
        parallel,
        round(share, 3),
        memory,
        sentence,
    )


def engine_options(plan: ServingPlan) -> dict[str, Any]:
    """What an engine is told of it."""
    return {
        "dtype": plan.dtype,
        "length": plan.length,
        "parallel": plan.parallel,
        "memory_share": plan.memory_share,
        "device": plan.device,
    }
