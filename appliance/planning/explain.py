"""The sentences of a plan: reasons, warnings and what else could be done."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from appliance.hardware.types import Accelerator
from appliance.locale import _
from appliance.planning import catalogue, generic
from appliance.planning.estimate import Estimate
from appliance.planning.lengths import Lengths
from appliance.planning.profiles import Profile
from appliance.planning.shape import Shape
from appliance.planning.way import WHOLE, Way, method_name, verdict_of
from appliance.planning.wish import Wish

# PyTorch's builds for CUDA 13 have no kernels for silicon before Turing (CUDA 13.0 release notes: Volta was removed).
_CUDA13_CAPABILITY = (7, 5)
# Of a picture of a megapixel Qwen-VL makes about 1,300 tokens (28 x 28 pixels each), Gemma 3 256 of any.
PICTURE_TOKENS = 1300


def warnings_of(card: Accelerator | None, shape: Shape, wanted: Wish) -> list[str]:
    """What a person should know before starting."""
    warnings = []
    if card and card.kind == "cuda" and card.capability() < _CUDA13_CAPABILITY:
        warnings.append(
            _(
                "{name} has compute capability {capability}; PyTorch built with CUDA 13 starts at 7.5. "
                "It needs a PyTorch built with CUDA 12.6."
            ).format(name=card.name, capability=card.compute_capability)
        )
    if shape.quantised:
        warnings.append(
            _("This model is quantised already ({kind}): use its original 16-bit weights for fine-tuning.").format(
                kind=shape.quantised
            )
        )
    if wanted.method in WHOLE:
        warnings.append(_("You asked for full fine-tuning: it needs many times the memory of LoRA."))
    return warnings


def pictures(images: int, rows: int | None, lengths: Lengths | None, reasons: dict[str, str]) -> Lengths | None:
    """Say what is counted for the rows' pictures; where the model's processor has not seen them, a guess is added."""
    sentence = _(
        "{n} pictures. Only the language part learns: what sees is frozen, so its weights are counted and nothing is "
        "kept of what passes through it."
    ).format(n=images)
    if lengths and lengths.rough:
        each = math.ceil(images / max(1, rows or len(lengths.tokens)))
        lengths = Lengths.of(count + each * PICTURE_TOKENS for count in lengths.tokens)
        sentence += " " + _("Each is guessed to be {tokens} tokens: the model's own processor was not asked.").format(
            tokens=PICTURE_TOKENS
        )
    elif lengths:
        sentence += " " + _("As many tokens are counted for each as the model's own processor makes of it.")
    reasons["pictures"] = sentence
    return lengths


def explain(
    chosen: Way,
    first: Way,
    memory: Estimate,
    verdict: str,
    free: float,
    profile: Profile,
    card: Accelerator | None,
    wanted: Wish,
    batch: int,
    reasons: dict[str, str],
) -> None:
    """A sentence for every choice."""
    if wanted.method:
        reasons["method"] = (
            _("You asked for it.") if chosen.method == wanted.method else _("QLoRA is not possible here.")
        )
    elif chosen.method == "qlora":
        reasons["method"] = (
            _("The card has {size} GB: under 24 GB the weights are kept in 4 bits.").format(
                size=card.nominal_gb if card else 0
            )
            if profile.choose.method == "qlora"
            else _("LoRA with 16-bit weights does not fit into {free:.1f} GiB; 4-bit weights do.").format(free=free)
            if verdict != "exceeds"
            else _("4-bit weights need the least memory.")
        )
    elif profile.choose.method == "qlora":
        reasons["method"] = _("The model is small enough for LoRA with 16-bit weights: better and faster than 4 bits.")
    else:
        reasons["method"] = _("LoRA with the model's own weights is the best that fits.")
    reasons["rank"] = _("You asked for it.") if wanted.rank else _("The profile's rank.")
    if wanted.batch:
        reasons["micro_batch"] = _("You asked for it.")
    elif chosen.micro_batch < min(first.micro_batch, max(1, batch // chosen.gpus)):
        reasons["micro_batch"] = _(
            "More rows at a time do not fit; the rest is accumulated, which gives the same result."
        )
    else:
        reasons["micro_batch"] = _("As many rows at a time as the profile allows.")
    reasons["accumulation"] = _("{batch} rows count as one step: the profile's, or fewer for small data.").format(
        batch=batch
    )
    reasons["learning_rate"] = _("You asked for it.") if wanted.learning_rate else _("Usual for this method.")
    reasons["targets"] = _("Every linear layer: better than attention alone, at little cost.")
    reasons["optimizer"] = _why_optimizer(chosen, wanted)
    reasons["checkpointing"] = (
        _("You asked for it.")
        if wanted.checkpointing is not None
        else _("Layers are computed twice, which saves most of the activations' memory.")
        if chosen.checkpointing
        else _("There is memory enough to compute each layer only once.")
    )
    if chosen.length < first.length:
        reasons["length"] = _("{wanted} tokens do not fit, so rows are cut at {length}.").format(
            wanted=first.length, length=chosen.length
        )
    if chosen.dtype != first.dtype:
        reasons["dtype"] = _("bfloat16: float32 does not fit into {free:.1f} GiB.").format(free=free)
    reasons["verdict"] = {
        "fits": _("It needs about {need:.1f} GiB, at most {high:.1f}, and {free:.1f} GiB are free."),
        "tight": _(
            "It needs about {need:.1f} GiB, {high:.1f} at worst, and {free:.1f} GiB are free: it may just fail."
        ),
        "exceeds": _("Even so it needs about {need:.1f} GiB, and only {free:.1f} GiB are free."),
    }[verdict].format(need=memory.total_gib, high=memory.high_gib, free=free)


def _why_optimizer(chosen: Way, wanted: Wish) -> str:
    if wanted.optimizer == chosen.optimizer:
        return _("You asked for it.")
    if chosen.method == "galore":
        return _("AdamW whose states have {rank} directions of each matrix instead of all.").format(rank=chosen.rank)
    if chosen.optimizer.startswith("paged"):
        return _("Its states are kept in 8 bits and move to the processor's memory when the card's is full.")
    if "8bit" in chosen.optimizer:
        return _("Its states are kept in 8 bits: in 32 they would not fit.")
    if chosen.method == "full":
        return _("AdamW with states in 32 bits: the best there is, and there is memory for it.")
    return _("Plain AdamW: an adapter's states are small.")


def explain_cards(
    chosen: Way, cards: list[Accelerator], why_not_more: str, reasons: dict[str, str], *, wished: bool = False
) -> None:
    """Which cards, why so many, and how they share the work."""
    if len(cards) < 2:
        if why_not_more:
            reasons["gpus"] = why_not_more
        return
    reasons["device"] = _("{count} × {name}: {numbers}.").format(
        count=len(cards), name=cards[0].name, numbers=", ".join(f"GPU {card.index}" for card in cards)
    )
    how = {
        "fsdp": _("they share its 16-bit weights (FSDP2).")
        if wished
        else _("one card alone does not hold it, so they share its 16-bit weights (FSDP2)."),
        "zero2": _("each holds the model, and they share the optimizer's states and gradients (DeepSpeed ZeRO 2)."),
        "zero3": _("they share its weights as well as what is trained (DeepSpeed ZeRO 3)."),
    }.get(chosen.sharding, _("each holds the model and learns from rows of its own (data parallel)."))
    reasons["gpus"] = f"{how} {why_not_more}".strip()


def explain_calibration(chosen: Way, memory: Estimate, shape: Shape, reasons: dict[str, str]) -> None:
    """A sentence where runs on this machine have corrected the formula by a per cent or more."""
    change = 100 * (memory.total_gib / chosen.formula(shape).total_gib - 1)
    if abs(change) < 1:
        return
    less, more = (
        _("Measured on this machine: {percent:.0f} percent less than the formula."),
        _("Measured on this machine: {percent:.0f} percent more than the formula."),
    )
    reasons["calibration"] = (less if change < 0 else more).format(percent=abs(change))


def alternatives(
    chosen: Way, shape: Shape, free: float, verdict: str, card: Accelerator | None
) -> list[dict[str, Any]]:
    """Other ways: the best of every other method, twice the length, and models that would fit."""
    others = []
    if card and card.kind == "cuda" and chosen.method in ("lora", "qlora"):
        other = "qlora" if chosen.method == "lora" else "lora"
        others.append(replace(chosen, method=other, optimizer="adamw_torch" if other == "lora" else "paged_adamw_8bit"))
    if not shape.max_positions or 2 * chosen.length <= shape.max_positions:
        others.append(replace(chosen, length=2 * chosen.length, micro_batch=1))
    found = []
    for way in others:
        memory = way.memory(shape)
        found.append(
            {
                "method": way.method,
                "micro_batch": way.micro_batch,
                "length": way.length,
                "total_gib": round(memory.total_gib, 2),
                "verdict": verdict_of(memory, free),
                "sentence": _("{method}, {batch} × {length} tokens at a time: about {need:.1f} GiB.").format(
                    method=method_name(way.method),
                    batch=way.micro_batch,
                    length=way.length,
                    need=memory.total_gib,
                ),
            }
        )
    if verdict == "exceeds":
        device = card.kind if card else "cpu"
        methods = ("lora", "qlora") if device == "cuda" else ("lora",)
        for method in methods:
            size = generic.largest(method, free, device)
            if size:
                length = max(chosen.length, generic.USUAL_LENGTH[device])
                way = replace(chosen, method=method, length=length, micro_batch=1, gpus=1, sharding="none")
                model = _largest_that_fits(way, free)
                text = _("A model of {size} parameters or fewer would fit with {method}.")
                if model:
                    text = _("A model of {size} parameters or fewer would fit with {method}, such as {model}.")
                sentence = text.format(size=size, method=method_name(method), model=model)
                found.append(
                    {
                        "method": method,
                        "model_size": size,
                        "model": model,
                        "verdict": "fits",
                        "sentence": sentence,
                    }
                )
    return found


def _largest_that_fits(way: Way, free: float) -> str | None:
    """Of the catalogue's models that a beginner would take, the largest that could be trained this way."""
    likely = [model for model in catalogue.load() if model.suggested and model.kind == "text"]
    fitting = [model.name for model in likely if verdict_of(way.memory(model.shape()), free) == "fits"]
    return fitting[-1] if fitting else None
