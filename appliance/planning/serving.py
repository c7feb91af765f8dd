"""What a server can hold here: the longest conversation and how many at once, computed before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.errors import ApplianceError
from appliance.hardware.types import Hardware
from appliance.locale import _
from appliance.planning.card import team
from appliance.planning.estimate import Estimate
from appliance.planning.serving_estimate import Serving, estimate_serving
from appliance.planning.shape import Shape

# Conversations are rarely longer; more is given when a person asks for it.
_USUAL_LENGTH = 8192
_SHORTEST = 512
_MOST_PARALLEL = {"cuda": 64, "npu": 64, "mps": 4, "cpu": 4}
# vLLM's own share of a card; what others hold is taken off below.
_SHARE = 0.9
# bfloat16 needs compute capability 8.0; older silicon gets float16.
_BF16_FROM = (8, 0)
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class ServingPlan:
    """Length in tokens, parallel in conversations of that length, memory_share of a card (0 to 1).

    memory        of one card, in GiB
    accelerators  the cards that share the model (tensor parallel)
    """

    device: str
    accelerators: list[int]
    uuids: list[str | None]
    dtype: str
    length: int
    parallel: int
    memory_share: float
    cards: int
    memory: Estimate
    sentence: str


def serving_plan(
    hardware: Hardware,
    shape: Shape,
    *,
    length: int | None = None,
    most_parallel: int | None = None,
    most_cards: int = 1,
    kinds: tuple[str, ...] = ("cuda",),
) -> ServingPlan:
    """The fewest cards and the longest usual length that fit, then as many conversations as fit. Raises ApplianceError
    when none does.

    most_parallel  how many conversations the engine answers at once, where it is not the memory that limits them
    most_cards     how many cards the engine can share a model between
    kinds          what else than NVIDIA's cards the engine runs on: with "npu", Ascend's
    """
    together, _why = team(hardware)
    if not together and "npu" in kinds:
        together = [card for card in hardware.accelerators if card.kind == "npu"]
    card = max(together, key=lambda one: (one.free_gib, -one.index)) if together else None
    device = card.kind if card else "cpu"
    together = sorted(together, key=lambda one: (-one.free_gib, one.index))
    dtype = shape.dtype
    if dtype == "bfloat16" and card and device == "cuda" and card.capability() < _BF16_FROM:
        dtype = "float16"
    width = _BYTES.get(dtype, 2)
    wanted = length or min(_USUAL_LENGTH, shape.max_positions or _USUAL_LENGTH)

    def need(tokens: int, parallel: int = 1) -> Estimate:
        counted_as = "cuda" if device == "npu" else device
        server = Serving(tokens, parallel, dtype_bytes=width, device=counted_as, gpus=cards)
        return estimate_serving(shape, server)

    for cards in _counts(shape, min(most_cards, len(together))):
        free = together[cards - 1].free_gib if card else hardware.cpu.free_gib  # of the fullest one
        share = min(_SHARE, max(0.1, (free - 0.5) / card.memory_gib)) if card else 1.0
        room = share * card.memory_gib if card else 0.9 * free
        if need(wanted).total_gib <= room:
            break
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
    if cards > 1:
        sentence = _(
            "{n:.1f} GiB on each of {cards} cards for {parallel} conversations of {length} tokens at once"
        ).format(n=memory.total_gib, cards=cards, parallel=parallel, length=fitting)
    elif parallel == 1:
        sentence = _("{n:.1f} GiB for a conversation of {length} tokens").format(n=memory.total_gib, length=fitting)
    else:
        sentence = _("{n:.1f} GiB for {parallel} conversations of {length} tokens at once").format(
            n=memory.total_gib, parallel=parallel, length=fitting
        )
    if fitting < wanted:
        sentence += _("; {wanted} tokens would not fit").format(wanted=wanted)
    # An Ascend card is not locked: jobs use none.
    used = sorted(together[:cards], key=lambda one: one.index) if device != "npu" else []
    return ServingPlan(
        device,
        [one.index for one in used],
        [one.uuid for one in used],
        dtype,
        fitting,
        parallel,
        round(share, 3),
        cards,
        memory,
        sentence,
    )


def _counts(shape: Shape, most: int) -> list[int]:
    """Into how many cards the model can be cut: its heads must come out even."""
    keys = shape.kv_heads or shape.heads  # fewer than cards: each card has a copy
    even = [n for n in (2, 4, 8) if shape.heads % n == 0 and (keys % n == 0 or n % keys == 0)]
    return [1, *(n for n in even if n <= most)]


def engine_options(plan: ServingPlan) -> dict[str, Any]:
    """What an engine is told of it."""
    return {
        "dtype": plan.dtype,
        "length": plan.length,
        "parallel": plan.parallel,
        "memory_share": plan.memory_share,
        "device": plan.device,
        "cards": plan.cards,
    }
