"""What fits here, and why?  plan(hardware, shape, …) -> Plan: every choice with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from appliance.hardware.types import Accelerator, Hardware
from appliance.locale import _
from appliance.planning import explain, possible, schedule, techniques
from appliance.planning.calibration import Calibration
from appliance.planning.card import best_card, team
from appliance.planning.counting import Counter
from appliance.planning.estimate import Estimate
from appliance.planning.exact import Exact
from appliance.planning.lengths import Lengths, cut_sentence
from appliance.planning.profiles import Profile, choose
from appliance.planning.shape import Shape
from appliance.planning.way import BYTES, WHOLE, Way
from appliance.planning.ways import first_try, pick, ways
from appliance.planning.wish import Wish, read_wish

# Longer than a person expects to wait without being told.
_LONG_SECONDS = 6 * 3600
# Sooner than that one card is done; several would spend as long on starting.
# How much smaller than for answers that are copied: what the methods' papers and TRL's own settings have in common.
_ANSWERS = 8
_SLOWER = {"dpo": 10, "kto": 10, "orpo": 5, "simpo": 20, "reward": 2, "grpo": 20, "rloo": 20}
_SHORT_SECONDS = 120


@dataclass
class Plan:
    """A profile resolved for this machine, model and data. Memory in GiB a card, length in tokens, seconds a guess.

    accelerators, uuids  the cards that it will use; `gpus` is how many, 1 for the processor too
    sharding             none · ddp: each card holds the model · fsdp: each a share of it · zero2, zero3: DeepSpeed
    micro_batch          rows at once on each card; a step learns from micro_batch × accumulation × gpus rows, or
                         packs of rows
    """

    profile: str
    title: str
    method: str
    dtype: str
    device: str
    device_name: str
    accelerators: list[int]
    uuids: list[str | None]
    gpus: int
    sharding: str
    micro_batch: int
    accumulation: int
    length: int
    rank: int
    alpha: int
    targets: str
    learning_rate: float
    epochs: float
    steps: int | None
    optimizer: str
    checkpointing: bool
    padding_free: bool
    packing: bool
    flash: bool
    liger: bool
    neftune: float
    verdict: str
    memory: Estimate
    free_gib: float
    disk_gib: float
    seconds: float | None
    reasons: dict[str, str] = field(default_factory=dict)
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The answer of `appliance plan --json`, and what a fine-tune job is given."""
        return {**vars(self), "memory": self.memory.as_dict()}


def plan(
    hardware: Hardware,
    shape: Shape,
    *,
    task: str = "sft",
    rows: int | None = None,
    longest: int | None = None,
    lengths: Lengths | None = None,
    images: int = 0,
    wish: Mapping[str, Any] | None = None,
    profile: Profile | None = None,
    calibration: Calibration | None = None,
    counter: Counter | None = None,
) -> Plan:
    """The best way to fine-tune this model here.

    task     what is learned: sft, pretrain, dpo, kto, orpo, simpo, reward, grpo, rloo
    rows     how many rows the data has, if known
    longest  tokens of its longest row, or a bound, where the lengths of all are not known
    lengths  tokens of every row
    images   how many pictures the rows show
    wish     what a person asked for: method, rank, batch, length, steps, epochs, learning_rate, gpus, sharding
    calibration  what runs on this machine have measured (calibration.load); None: the formula alone
    counter  counts a step where the formula is near the limit; None: the formula alone

    Order: LoRA, then QLoRA, each with the largest micro-batch that fits, then weights shared between cards, then
    shorter rows, then "exceeds". Raises ApplianceError for wrong profiles and for what can't be had together
    (possible.py), UsageError for wrong wishes.
    """
    wanted = read_wish(wish)
    profile = profile or choose(hardware)
    card, why_card = best_card(hardware)
    possible.check(shape, task, wanted, images, card.kind if card else "cpu")
    reasons = {"device": why_card, "profile": _("{title}.").format(title=profile.title)}
    warnings = explain.warnings_of(card, shape, wanted)
    if lengths is None and longest:
        lengths = Lengths((longest,), rough=False)
    if images:
        lengths = explain.pictures(images, rows, lengths, reasons)
    elif shape.vision:
        reasons["pictures"] = _("This model can see; these rows show nothing, so it learns from text alone.")
    first = first_try(profile, card, shape, lengths, wanted, reasons, warnings)
    first = replace(first, task=task)
    if calibration:
        first = replace(first, calibration=replace(calibration, device=card.name if card else "cpu"))
    batch = schedule.effective_batch(profile.choose.effective_batch, profile.choose.epochs, rows)
    if task in ("grpo", "rloo"):  # so many answers to one question: with two there is hardly a better one
        batch = max(batch, _ANSWERS)
    first = replace(first, rows_a_step=batch)

    def seconds(way: Way, steps: int | None, batch: int) -> float | None:
        longest = lengths.longest if lengths else None
        return schedule.seconds(shape, card, hardware.cpu.cores, way, steps=steps, batch=batch, longest=longest)

    cards, why_not_more = _together(hardware, batch, wanted, warnings)
    if wanted.sharding and len(cards) < 2:
        warnings.append(_("You asked for {way}: that takes several cards.").format(way=wanted.sharding))
    alone_first = False
    if len(cards) > 1 and wanted.gpus is None and wanted.sharding is None:
        steps = schedule.length_of_training(profile.choose.epochs, rows, batch, wanted.epochs, wanted.steps, {})[1]
        alone = seconds(first, steps, batch)
        alone_first = alone is not None and alone < _SHORT_SECONDS
        if alone_first:
            why_not_more = _("It takes about {n:.0f} s on one card: the others stay free.").format(n=alone)
    chosen, memory, verdict, free = _choose(
        first, profile, hardware, shape, wanted, batch, cards, counter, alone_first=alone_first
    )
    cards = cards if chosen.gpus > 1 else [card] if card else []
    used = techniques.decide(chosen, shape, lengths, rows, batch, wanted, reasons)
    for switch in ("packing", "padding_free", "flash", "liger"):
        if getattr(wanted, switch) and not getattr(used, switch):
            text = _("You asked for {switch}, which can't be had here: {why}")
            warnings.append(text.format(switch=switch, why=reasons[switch]))
    packs = used.micro_batch * used.accumulation * chosen.gpus
    step = max(1, round(packs * used.rows_a_pack))
    epochs, steps = schedule.length_of_training(profile.choose.epochs, rows, step, wanted.epochs, wanted.steps, reasons)
    if used.packing and lengths and steps and not wanted.steps:
        steps = techniques.steps_of(sum(lengths.tokens), chosen.length, packs, epochs)
    explain.explain(chosen, first, memory, verdict, free, profile, card, wanted, step, reasons)
    if _SLOWER.get(task) and not wanted.learning_rate:
        reasons["learning_rate"] = _("Comparing answers needs smaller steps than copying them.")
    explain.explain_cards(
        chosen,
        cards,
        "" if alone_first and chosen.gpus > 1 else why_not_more,
        reasons,
        wished=wanted.sharding is not None,
    )
    reasons["neftune"] = (
        _("You asked for it.")
        if wanted.neftune is not None
        else _("Noise on the words' vectors makes answers longer, and exact ones worse: only if you ask for it.")
    )
    counted = counter.reason(chosen, free) if counter else None
    if counted:
        reasons["exact"] = counted
    if not isinstance(memory, Exact):
        explain.explain_calibration(chosen, memory, shape, reasons)
    result = Plan(
        profile=profile.name,
        title=profile.title,
        method=chosen.method,
        dtype=chosen.dtype,
        device=chosen.device,
        device_name=card.name if card else "cpu",
        accelerators=[one.index for one in cards],
        uuids=[one.uuid for one in cards],
        gpus=chosen.gpus,
        sharding=chosen.sharding,
        micro_batch=used.micro_batch,
        accumulation=used.accumulation,
        length=chosen.length,
        rank=chosen.rank,
        alpha=profile.choose.alpha if wanted.rank is None else 2 * chosen.rank,
        targets=profile.choose.targets,
        learning_rate=wanted.learning_rate or _learning_rate(profile, chosen.method, task),
        epochs=epochs,
        steps=steps,
        optimizer=chosen.optimizer,
        checkpointing=chosen.checkpointing,
        padding_free=used.padding_free,
        packing=used.packing,
        flash=used.flash,
        liger=used.liger,
        neftune=wanted.neftune or 0.0,
        verdict=verdict,
        memory=memory,
        free_gib=free,
        disk_gib=schedule.disk_gib(
            shape,
            chosen.method,
            chosen.rank,
            chosen.optimizer,
            BYTES[shape.dtype if shape.dtype in BYTES else "float32"],
        ),
        seconds=seconds(chosen, steps, step),
        reasons=reasons,
        warnings=warnings,
    )
    if result.seconds and result.seconds > _LONG_SECONDS:
        warnings.append(
            _("This would take about {hours:.0f} hours: a smaller model, fewer rows or a (faster) GPU help.").format(
                hours=result.seconds / 3600
            )
        )
    if lengths and task != "pretrain" and (cut := cut_sentence(lengths, chosen.length)):
        warnings.append(cut)
    result.alternatives = explain.alternatives(chosen, shape, free, verdict, card)
    if verdict != "fits" and any(
        value is not None for value in (wanted.method, wanted.batch, wanted.length, wanted.rank)
    ):
        warnings.append(
            _("What you asked for may not fit; without your wishes the plan looks for something that does.")
        )
    return result


def _together(hardware: Hardware, batch: int, wanted: Wish, warnings: list[str]) -> tuple[list[Accelerator], str]:
    """The cards that share a step's rows evenly, and why there are not more of them; "" where all are used."""
    cards, why = team(hardware)
    count = len(cards)
    if wanted.gpus is not None:
        if wanted.gpus > max(1, count):
            warnings.append(
                _("You asked for {wanted} cards; {count} can be used. {why}")
                .format(wanted=wanted.gpus, count=max(1, count), why=why)
                .strip()
            )
        count = min(count, wanted.gpus)
        why = _("You asked for it.") if count == wanted.gpus else why
    else:
        while count > 1 and batch % count:
            count -= 1
        if count < len(cards):
            why = _("{batch} rows a step are shared by {count} cards evenly.").format(batch=batch, count=count)
    best, _why = best_card(hardware)
    chosen = sorted(cards, key=lambda card: (card is not best, -card.free_gib, card.index))[:count]
    return sorted(chosen, key=lambda card: card.index), why


def _choose(
    first: Way,
    profile: Profile,
    hardware: Hardware,
    shape: Shape,
    wanted: Wish,
    batch: int,
    cards: list[Accelerator],
    counter: Counter | None,
    *,
    alone_first: bool,
) -> tuple[Way, Estimate, str, float]:
    """(way, memory on each card, verdict, the GiB that were free for it): on one card, or on several together."""
    best, _why = best_card(hardware)
    alone = best.free_gib if best else hardware.cpu.free_gib
    if alone_first or len(cards) < 2:
        found = pick(ways(first, shape, profile, best, wanted, batch, 1), shape, alone, counter)
        if len(cards) < 2 or (found[2] == "fits" and found[0].length == first.length):
            return *found, alone
    free = min(card.free_gib for card in cards)
    return *pick(ways(first, shape, profile, best, wanted, batch, len(cards)), shape, free, counter), free


def _learning_rate(profile: Profile, method: str, task: str) -> float:
    # All weights move at once: the customary rate for it is a tenth of LoRA's.
    usual = profile.choose.learning_rate / 10 if method in WHOLE else profile.choose.learning_rate
    return usual / _SLOWER.get(task, 1)
