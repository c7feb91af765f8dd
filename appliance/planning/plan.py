"""What fits here, and why?  plan(hardware, shape, …) -> Plan: every choice with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from appliance.hardware.types import Accelerator, Hardware
from appliance.locale import _
from appliance.planning import explain, schedule
from appliance.planning.calibration import Calibration
from appliance.planning.card import best_card
from appliance.planning.estimate import Estimate
from appliance.planning.profiles import Profile, choose
from appliance.planning.shape import Shape
from appliance.planning.way import BYTES, Way, verdict_of
from appliance.planning.wish import Wish, read_wish

# Shorter than this, a chat template leaves hardly any room for a question and its answer.
_SHORTEST = 128
# How much longer than the profile's length rows may make it by themselves.
_LONGER = 4
# Longer than a person expects to wait without being told.
_LONG_SECONDS = 6 * 3600


@dataclass
class Plan:
    """A profile resolved for this machine, model and data. Memory in GiB, length in tokens, seconds a rough guess."""

    profile: str
    title: str
    method: str
    dtype: str
    device: str
    device_name: str
    accelerators: list[int]
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
    rows: int | None = None,
    longest: int | None = None,
    wish: Mapping[str, Any] | None = None,
    profile: Profile | None = None,
    calibration: Calibration | None = None,
) -> Plan:
    """The best way to fine-tune this model here.

    rows     how many rows the data has, if known
    longest  tokens of its longest row, or a bound
    wish     what a person asked for: method, rank, batch, length, steps, epochs, learning_rate
    calibration  what runs on this machine have measured (calibration.load); None: the formula alone
    Order: LoRA, then QLoRA, each with the largest micro-batch that fits, then shorter rows, then "exceeds".
    Raises ApplianceError for wrong profiles, UsageError for wrong wishes.
    """
    wanted = read_wish(wish)
    profile = profile or choose(hardware)
    card, why_card = best_card(hardware)
    free = card.free_gib if card else hardware.cpu.free_gib
    reasons = {"device": why_card, "profile": _("{title}.").format(title=profile.title)}
    warnings = explain.warnings_of(card, shape, wanted)
    first = _first_try(profile, card, shape, longest, wanted, reasons, warnings)
    if calibration:
        first = replace(first, calibration=replace(calibration, device=card.name if card else "cpu"))
    batch = schedule.effective_batch(profile.choose.effective_batch, profile.choose.epochs, rows)
    ways = list(_ways(first, profile, card, wanted, batch))
    chosen, memory, verdict = _pick(ways, shape, free)
    accumulation = max(1, round(batch / chosen.micro_batch))
    epochs, steps = schedule.length_of_training(
        profile.choose.epochs, rows, chosen.micro_batch * accumulation, wanted.epochs, wanted.steps, reasons
    )
    explain.explain(chosen, first, memory, verdict, free, profile, card, wanted, batch, reasons)
    explain.explain_calibration(chosen, memory, shape, reasons)
    result = Plan(
        profile=profile.name,
        title=profile.title,
        method=chosen.method,
        dtype=chosen.dtype,
        device=chosen.device,
        device_name=card.name if card else "cpu",
        accelerators=[card.index] if card else [],
        micro_batch=chosen.micro_batch,
        accumulation=accumulation,
        length=chosen.length,
        rank=chosen.rank,
        alpha=profile.choose.alpha if wanted.rank is None else 2 * chosen.rank,
        targets=profile.choose.targets,
        learning_rate=wanted.learning_rate or _learning_rate(profile, chosen.method),
        epochs=epochs,
        steps=steps,
        optimizer=chosen.optimizer,
        checkpointing=chosen.checkpointing,
        verdict=verdict,
        memory=memory,
        free_gib=free,
        disk_gib=schedule.disk_gib(shape, chosen.method, chosen.rank, chosen.optimizer, BYTES[chosen.dtype]),
        seconds=schedule.seconds(
            shape,
            card,
            hardware.cpu.cores,
            method=chosen.method,
            steps=steps,
            batch=chosen.micro_batch * accumulation,
            length=chosen.length,
            longest=longest,
        ),
        reasons=reasons,
        warnings=warnings,
    )
    if result.seconds and result.seconds > _LONG_SECONDS:
        warnings.append(
            _("This would take about {hours:.0f} hours: a smaller model, fewer rows or a (faster) GPU help.").format(
                hours=result.seconds / 3600
            )
        )
    if longest and longest > chosen.length:
        warnings.append(
            _("The longest row has about {longest} tokens; rows of more than {length} are cut.").format(
                longest=longest, length=chosen.length
            )
        )
    result.alternatives = explain.alternatives(chosen, shape, free, verdict, card)
    if verdict != "fits" and any(
        value is not None for value in (wanted.method, wanted.batch, wanted.length, wanted.rank)
    ):
        warnings.append(
            _("What you asked for may not fit; without your wishes the plan looks for something that does.")
        )
    return result


def _first_try(
    profile: Profile,
    card: Accelerator | None,
    shape: Shape,
    longest: int | None,
    wanted: Wish,
    reasons: dict[str, str],
    warnings: list[str],
) -> Way:
    """What the profile and the wishes say, before memory is looked at."""
    device = card.kind if card else "cpu"
    method = wanted.method or profile.choose.method
    if method == "qlora" and device != "cuda":
        method = "lora"
        if wanted.method == "qlora":
            warnings.append(_("QLoRA needs an NVIDIA card (bitsandbytes' 4-bit kernels); LoRA is used instead."))
    length = wanted.length or profile.choose.length
    reasons["length"] = (
        _("You asked for it.") if wanted.length else _("The profile's length; nothing is known of the data.")
    )
    if not wanted.length and longest:
        # Whole blocks of 64 tokens: what a batch is padded to anyway, more or less.
        length = min(64 * math.ceil(longest / 64), _LONGER * profile.choose.length)
        reasons["length"] = _("The longest row has about {longest} tokens.").format(longest=longest)
    if shape.max_positions and length > shape.max_positions:
        length = shape.max_positions
        reasons["length"] = _("The model can't read more than {length} tokens.").format(length=length)
    return Way(
        method=method,
        dtype=_dtype(profile, card, reasons),
        micro_batch=wanted.batch or profile.choose.micro_batch,
        length=length,
        rank=wanted.rank or profile.choose.rank,
        optimizer=profile.choose.optimizer if device == "cuda" else "adamw_torch",
        checkpointing=profile.choose.checkpointing,
        device=device,
    )


def _dtype(profile: Profile, card: Accelerator | None, reasons: dict[str, str]) -> str:
    """Decided by the silicon, not by what config.json says."""
    if profile.choose.dtype != "auto":
        reasons["dtype"] = _("The profile asks for it.")
        return profile.choose.dtype
    if card is None:
        reasons["dtype"] = _("float32: most processors are slow or unstable in 16 bits.")
        return "float32"
    if card.bf16:
        reasons["dtype"] = _("bfloat16: {name} has it, and it never overflows.").format(name=card.name)
        return "bfloat16"
    if card.kind == "mps":
        reasons["dtype"] = _("float32: this macOS has no bfloat16 for Metal (macOS 14 has).")
        return "float32"
    reasons["dtype"] = _(
        "float16: {name} (compute capability {capability}) has no bfloat16; that came with 8.0."
    ).format(name=card.name, capability=card.compute_capability)
    return "float16"


def _ways(first: Way, profile: Profile, card: Accelerator | None, wanted: Wish, batch: int) -> Iterator[Way]:
    """Everything to try, the best first."""
    if wanted.method:
        methods = [first.method]
    else:  # up and down: a small model on a small card gets LoRA, a large one on a large card QLoRA
        methods = ["lora", "qlora"] if card and card.kind == "cuda" else [first.method]
    dtypes = [first.dtype]
    if profile.choose.dtype == "auto" and (card is None or (card.kind == "mps" and not card.bf16)):
        dtypes.append("bfloat16")
    largest = min(first.micro_batch, batch) if not wanted.batch else wanted.batch
    batches = [largest] if wanted.batch else [2**i for i in range(int(math.log2(largest)), -1, -1)]
    lengths = [first.length]
    while not wanted.length and lengths[-1] // 2 >= _SHORTEST:
        lengths.append(lengths[-1] // 2)
    for length in lengths:
        # Rows are only cut in the most frugal way of all.
        for method in methods if length == first.length else methods[-1:]:
            for dtype in dtypes if length == first.length else dtypes[-1:]:
                for size in batches if length == first.length else batches[-1:]:
                    for checkpointing in (True,) if first.checkpointing else (False, True):
                        yield replace(
                            first,
                            method=method,
                            dtype=dtype,
                            micro_batch=size,
                            length=length,
                            checkpointing=checkpointing,
                            optimizer=_optimizer(first, method),
                        )


def _optimizer(first: Way, method: str) -> str:
    """8-bit states pay only where memory is scarce: LoRA that fits has no need of them."""
    return "adamw_torch" if method in ("lora", "dora") else first.optimizer


def _pick(ways: list[Way], shape: Shape, free: float) -> tuple[Way, Estimate, str]:
    """The first that fits; else the first, at full length, that is tight; else the smallest."""
    tight: tuple[Way, Estimate, str] | None = None
    for way in ways:
        memory = way.memory(shape)
        verdict = verdict_of(memory, free)
        if verdict == "fits":
            # Something tight at full length loses against a method that fits, but not against cut rows.
            if tight and way.length < tight[0].length:
                return tight
            return way, memory, verdict
        if verdict == "tight" and (
            tight is None or (memory.total_gib < tight[1].total_gib and way.length == tight[0].length)
        ):
            tight = (way, memory, verdict)
    return tight or (ways[-1], ways[-1].memory(shape), "exceeds")


def _learning_rate(profile: Profile, method: str) -> float:
    # All weights move at once: the customary rate for it is a tenth of LoRA's.
    return profile.choose.learning_rate / 10 if method == "full" else profile.choose.learning_rate
