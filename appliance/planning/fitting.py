"""Which models of the catalogue run here: the plan's own answer for each, in one sentence.

Three groups: runs · runs if something is changed (what, and what it brings) · does not (needs how much).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from appliance.errors import ApplianceError
from appliance.hardware.types import Hardware
from appliance.locale import _
from appliance.planning import catalogue
from appliance.planning.card import best_card
from appliance.planning.catalogue import Model
from appliance.planning.plan import Plan, plan
from appliance.planning.profiles import Profile, choose
from appliance.planning.serving import ServingPlan, serving_plan
from appliance.planning.shape import Shape
from appliance.planning.way import method_name

PURPOSES = ("finetune", "serve")
_WHOLE, _PACKED = "16-bit", "awq"
# A conversation as it is usual; shorter than the shortest, rows and conversations say hardly anything. In tokens.
_CONVERSATION, _SHORTEST = 8192, 512
# What a driver keeps of a card that nobody uses; and what is worth closing other programs for.
_KEPT_GIB, _WORTH_CLOSING_GIB = 0.5, 1.0
# On a processor patience ends before memory does.
_PATIENCE_ON_CPU = 1e9
_MOST_SUGGESTED = 6
_ENDLESS_GIB = 1e6


@dataclass(frozen=True)
class Fit:
    """A model and what this machine makes of it. `group`: runs, runs_if or does_not; `method`: lora, qlora, 16-bit …

    `memory_gib` is what the way in the sentence takes; for does_not what the most frugal way would take.
    """

    model: Model
    group: str
    sentence: str
    memory_gib: float
    method: str

    def as_dict(self) -> dict[str, Any]:
        """One of the `models` of `appliance models --json`."""
        model = self.model
        return {
            "name": model.name,
            "family": model.family,
            "huggingface": model.huggingface,
            "modelscope": model.modelscope,
            "parameters_b": model.parameters_b,
            "kind": model.kind,
            "licence": model.licence,
            "gated": model.gated,
            "languages": list(model.languages),
            "context": model.context,
            "group": self.group,
            "sentence": self.sentence,
            "memory_gib": round(self.memory_gib, 2),
            "method": self.method,
        }


def fits(hardware: Hardware, purpose: str, models: Iterable[Model] | None = None) -> list[Fit]:
    """What this machine makes of each model, in their order. `purpose`: finetune or serve."""
    wanted = catalogue.load() if models is None else models
    if purpose == "serve":
        return [_serving(hardware, model) for model in wanted]
    profile = choose(hardware)
    return [_finetuning(hardware, model, profile) for model in wanted]


def suggested(hardware: Hardware) -> list[tuple[Model, bool]]:
    """A handful for a beginner, smallest first, each with whether it can be fine-tuned here; at least one."""
    card, _why = best_card(hardware)
    likely = [m for m in catalogue.load() if m.suggested and (card or m.parameters <= _PATIENCE_ON_CPU)]
    found = [(fit.model, fit.group != "does_not") for fit in fits(hardware, "finetune", likely)]
    return [pair for pair in found if pair[1]][-_MOST_SUGGESTED:] or found[:1]


# --- fine-tuning -----------------------------------------------------------------------------------------------------


def _finetuning(hardware: Hardware, model: Model, profile: Profile) -> Fit:
    shape = model.shape()
    made = plan(hardware, shape, profile=profile)
    need = made.memory.total_gib
    if made.verdict == "exceeds":
        held, freed = _without_others(hardware)
        alone = plan(freed, shape, profile=profile) if freed else made
        if alone.verdict == "exceeds":
            return Fit(model, "does_not", _never(hardware, need, _free(need, made.free_gib)), need, made.method)
        return Fit(model, "runs_if", _close(held, _said(alone)), alone.memory.total_gib, alone.method)
    first = _first_choice(hardware, shape, profile, made)
    if first:
        changes = _changes(made, first)
        return Fit(model, "runs_if", _brings(changes, need, first.memory.total_gib), need, made.method)
    if made.verdict == "tight":
        return _made_sure(hardware, model, shape, profile, made)
    return Fit(model, "runs", _said(made), need, made.method)


def _first_choice(hardware: Hardware, shape: Shape, profile: Profile, made: Plan) -> Plan | None:
    """What the profile would do with memory enough, one row at a time; None where that is what the plan does."""
    length = min(profile.choose.length, shape.max_positions or profile.choose.length)
    card, _why = best_card(hardware)
    halved = made.dtype == "bfloat16" and profile.choose.dtype == "auto" and not (card and card.bf16)
    if made.length >= length and not halved and not (made.method == "qlora" and profile.choose.method == "lora"):
        return None
    if halved:
        profile = replace(profile, choose=replace(profile.choose, dtype="float32"))
    wish = {"method": profile.choose.method, "length": length, "batch": 1}
    return plan(hardware, shape, profile=profile, wish=wish)


def _changes(made: Plan, first: Plan) -> str:
    """What the plan does otherwise than first meant."""
    words = []
    if made.method != first.method:
        this, that = method_name(made.method), method_name(first.method)
        words.append(_("{this} instead of {that}").format(this=this, that=that))
    if made.dtype != first.dtype:
        words.append(_("{this} instead of {that}").format(this=made.dtype, that=first.dtype))
    if made.length < first.length:
        words.append(_shorter(made.length, first.length))
    return ", ".join(words)


def _made_sure(hardware: Hardware, model: Model, shape: Shape, profile: Profile, made: Plan) -> Fit:
    """Something that just fits: the longest rows with which it fits for sure."""
    length = made.length // 2
    while length >= _SHORTEST:
        sure = plan(hardware, shape, profile=profile, wish={"method": made.method, "length": length})
        if sure.verdict == "fits":
            sentence = _brings(_shorter(length, made.length), sure.memory.total_gib, made.memory.total_gib)
            return Fit(model, "runs_if", sentence, sure.memory.total_gib, made.method)
        length //= 2
    text = _("only just: {how}, and {free:.1f} are free")
    return Fit(model, "runs_if", text.format(how=_said(made), free=made.free_gib), made.memory.total_gib, made.method)


def _said(made: Plan) -> str:
    text = _("{method}, {length} tokens: {need:.1f} GiB")
    if made.gpus > 1:
        text = _("{method} on {count} cards, {length} tokens: {need:.1f} GiB each")
    if made.sharding == "fsdp":
        text = _("{method} shared by {count} cards, {length} tokens: {need:.1f} GiB each")
    method, need = method_name(made.method), made.memory.total_gib
    return text.format(method=method, count=made.gpus, length=made.length, need=need)


# --- serving ---------------------------------------------------------------------------------------------------------


def _serving(hardware: Hardware, model: Model) -> Fit:
    shape = model.shape()
    wanted = min(_CONVERSATION, model.context)
    card, _why = best_card(hardware)
    device = card.kind if card else "cpu"
    packed = replace(shape, quantised="awq") if device == "cuda" else None

    def need(of: Shape, length: int) -> float:
        """GiB for one conversation of that length, were there memory without end."""
        return serving_plan(_endless(hardware), of, length=length, most_parallel=1).memory.total_gib

    made, why = _served(hardware, shape, wanted)
    if made and made.length >= wanted:
        return Fit(model, "runs", _conversations(made), made.memory.total_gib, _WHOLE)
    if packed:
        four, why = _served(hardware, packed, wanted)
        if four and (made is None or four.length > made.length):
            least = need(packed, four.length)
            return Fit(model, "runs_if", _brings(_packed(four.length), least, need(shape, wanted)), least, _PACKED)
    if made:
        least = need(shape, made.length)
        change = _shorter(made.length, wanted)
        return Fit(model, "runs_if", _brings(change, least, need(shape, wanted)), least, _WHOLE)
    held, freed = _without_others(hardware)
    if freed:
        alone, _reason = _served(freed, shape, wanted)
        if alone:
            return Fit(model, "runs_if", _close(held, _conversations(alone)), alone.memory.total_gib, _WHOLE)
        four, _reason = _served(freed, packed, wanted) if packed else (None, "")
        if packed and four:
            least = need(packed, four.length)
            change = _brings(_packed(four.length), least, need(shape, wanted))
            return Fit(model, "runs_if", _close(held, change), least, _PACKED)
    least = need(packed or shape, _SHORTEST)
    return Fit(model, "does_not", _never(hardware, least, why), least, _PACKED if packed else _WHOLE)


def _served(hardware: Hardware, shape: Shape, length: int) -> tuple[ServingPlan | None, str]:
    """(plan, "") or (None, why not)."""
    try:
        return serving_plan(hardware, shape, length=length), ""
    except ApplianceError as error:
        return None, error.why


def _packed(length: int) -> str:
    return _("a 4-bit copy (AWQ), {length} tokens").format(length=length)


def _conversations(made: ServingPlan) -> str:
    text = _("{count} conversations of {length} tokens: {need:.1f} GiB")
    if made.parallel == 1:
        text = _("one conversation of {length} tokens: {need:.1f} GiB")
    return text.format(count=made.parallel, length=made.length, need=made.memory.total_gib)


# --- both ------------------------------------------------------------------------------------------------------------


def _shorter(length: int, wanted: int) -> str:
    return _("{this} tokens instead of {that}").format(this=length, that=wanted)


def _brings(change: str, need: float, wanted: float) -> str:
    return _("{change}: {need:.1f} GiB instead of {wanted:.1f}").format(change=change, need=need, wanted=wanted)


def _close(held: float, how: str) -> str:
    return _("close what holds {held:.1f} GiB; then {how}").format(held=held, how=how)


def _free(need: float, free: float) -> str:
    return _("needs {need:.1f} GiB; {free:.1f} are free").format(need=need, free=free)


def _never(hardware: Hardware, need: float, why: str) -> str:
    """`why`: the plan's own reason, where not the machine is too small but what is free of it."""
    card, _why = best_card(hardware)
    has = card.memory_gib if card else hardware.cpu.memory_gib
    if need <= has:
        return why
    text = _("needs {need:.1f} GiB; the card has {has:.1f}") if card else _("needs {need:.1f} GiB; there are {has:.1f}")
    return text.format(need=need, has=has)


def _endless(hardware: Hardware) -> Hardware:
    cards = [replace(one, memory_gib=_ENDLESS_GIB, free_gib=_ENDLESS_GIB) for one in hardware.accelerators]
    cpu = replace(hardware.cpu, memory_gib=_ENDLESS_GIB, free_gib=_ENDLESS_GIB)
    return replace(hardware, accelerators=cards, cpu=cpu)


def _without_others(hardware: Hardware) -> tuple[float, Hardware | None]:
    """(GiB that other programs hold, the machine without them); None where they hold hardly anything."""
    card, _why = best_card(hardware)
    if card is None or card.kind != "cuda":  # elsewhere the system itself holds what is not free
        return 0.0, None
    cards = [replace(one, free_gib=max(one.free_gib, one.memory_gib - _KEPT_GIB)) for one in hardware.accelerators]
    freed = replace(hardware, accelerators=cards)
    held = next(one.free_gib for one in cards if one.index == card.index) - card.free_gib
    return (held, freed) if held >= _WORTH_CLOSING_GIB else (0.0, None)
