"""Every way to train a model here, the best first, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from appliance.hardware.types import Accelerator
from appliance.locale import _
from appliance.planning.counting import Counter
from appliance.planning.estimate import Estimate
from appliance.planning.lengths import Lengths, how_known
from appliance.planning.profiles import Profile
from appliance.planning.shape import Shape
from appliance.planning.trained import GALORE
from appliance.planning.way import WHOLE, Way, verdict_of
from appliance.planning.wish import SPLITTING, Wish

# Shorter than this, a chat template leaves hardly any room for a question and its answer.
_SHORTEST = 128
# How much longer than the profile's length rows may make it by themselves.
_LONGER = 4
# The paper's for a model of a milliard parameters; smaller ones have fewer directions.
_GALORE_RANK = 128


def first_try(
    profile: Profile,
    card: Accelerator | None,
    shape: Shape,
    lengths: Lengths | None,
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
    rank = wanted.rank or profile.choose.rank
    if method == "galore" and not wanted.rank:
        rank = min(_GALORE_RANK, max(1, shape.hidden // 4))
    return Way(
        method=method,
        dtype=_dtype(profile, card, reasons),
        micro_batch=wanted.batch or profile.choose.micro_batch,
        length=_length(profile, shape, lengths, wanted, reasons),
        rank=rank,
        optimizer=profile.choose.optimizer,
        checkpointing=profile.choose.checkpointing,
        device=device,
    )


def _length(profile: Profile, shape: Shape, lengths: Lengths | None, wanted: Wish, reasons: dict[str, str]) -> int:
    length = wanted.length or profile.choose.length
    reason = _("You asked for it.") if wanted.length else _("The profile's length; nothing is known of the data.")
    if not wanted.length and lengths:
        # Whole blocks of 64 tokens: what a batch is padded to anyway, more or less.
        length = 64 * math.ceil(lengths.longest / 64)
        reason = _("The longest row has about {longest} tokens.").format(longest=lengths.longest)
        most = _LONGER * profile.choose.length
        if length > most:
            length = most
            reason += " " + _("More than {most} only if you ask for it (--length).").format(most=most)
        reason = f"{reason} {how_known(lengths)}".strip()
    if shape.max_positions and length > shape.max_positions:
        length = shape.max_positions
        reason = _("The model can't read more than {length} tokens.").format(length=length)
    reasons["length"] = reason
    return length


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


def ways(
    first: Way, shape: Shape, profile: Profile, card: Accelerator | None, wanted: Wish, batch: int, gpus: int
) -> Iterator[Way]:
    """Everything to try, the best first. `gpus`: how many cards work together; `batch`: rows a step of all of them.

    LoRA where each card holds the model, then its 16-bit weights shared between the cards, then QLoRA, then shorter
    rows. Where QLoRA is what the profile means to do, it comes before weights that travel at every step.
    """
    if wanted.method:
        methods = [first.method]
    elif wanted.sharding in SPLITTING and gpus > 1:
        methods = ["lora"]  # packed weights can't be shared out
    else:  # up and down: a small model on a small card gets LoRA, a large one on a large card QLoRA
        methods = ["lora", "qlora"] if card and card.kind == "cuda" else [first.method]
    dtypes = [first.dtype]
    if profile.choose.dtype == "auto" and (card is None or (card.kind == "mps" and not card.bf16)):
        dtypes.append("bfloat16")
    largest = wanted.batch or min(first.micro_batch, max(1, batch // gpus))
    batches = [largest] if wanted.batch else [2**i for i in range(int(math.log2(largest)), -1, -1)]
    wished = wanted.sharding if gpus > 1 else None
    computed_twice = (True,) if first.checkpointing else (False, True)
    if wanted.checkpointing is not None:
        computed_twice = (wanted.checkpointing,)
    alone = replace(first, gpus=gpus, sharding=wished or ("ddp" if gpus > 1 else "none"))

    def tries(of: Way, methods: list[str], dtypes: list[str], batches: list[int]) -> Iterator[Way]:
        for method in methods:
            optimizers = [wanted.optimizer] if wanted.optimizer and method != "galore" else _optimizers(first, method)
            for dtype, optimizer, size in product(dtypes, optimizers, batches):
                for checkpointing in computed_twice:
                    yield replace(
                        of,
                        method=method,
                        dtype=dtype,
                        micro_batch=size,
                        checkpointing=checkpointing,
                        optimizer=optimizer,
                    )

    # Packed weights can't be shared out, DoRA's magnitudes need whole matrices, and comparing answers is not tried so.
    sharable = gpus > 1 and not wished and "lora" in methods and first.task in ("sft", "pretrain") and not shape.vision
    shared = replace(first, gpus=gpus, sharding="fsdp") if sharable else None
    length = first.length
    by_profile = methods if profile.choose.method == "qlora" else methods[:1]
    yield from tries(alone, by_profile, dtypes, batches)
    if shared:
        yield from tries(shared, ["lora"], dtypes, batches)
    yield from tries(alone, methods[len(by_profile) :], dtypes, batches)
    while not wanted.length and length // 2 >= _SHORTEST:
        length //= 2
        # Rows are only cut in the most frugal way of all.
        yield from tries(replace(alone, length=length), methods[-1:], dtypes[-1:], batches[-1:])
        if shared:
            yield from tries(replace(shared, length=length), ["lora"], dtypes[-1:], batches[-1:])


def _optimizers(first: Way, method: str) -> tuple[str, ...]:
    """What may hold the moments, the best first: 8-bit ones pay only where memory is scarce."""
    # In one kernel, without a copy of everything that is trained; Metal's is not as well tried.
    plain = "adamw_torch" if first.device == "mps" else "adamw_torch_fused"
    if method == "galore":
        return (GALORE,)
    if method == "qlora":
        return (first.optimizer,)
    if method not in WHOLE or first.device == "mps":
        return (plain,)
    return (plain, "paged_adamw_8bit") if first.device == "cuda" else (plain, "adamw_8bit")


def pick(found: Iterator[Way], shape: Shape, free: float, counter: Counter | None) -> tuple[Way, Estimate, str]:
    """The first that fits; else the first, at full length, that is tight; else the smallest."""
    tight: tuple[Way, Estimate, str] | None = None
    least: tuple[Way, Estimate, str] | None = None
    for way in found:
        memory = way.memory(shape)
        if tight and way.length < tight[0].length:
            # Something tight at full length loses against a method that fits, but not against cut rows.
            return tight
        if counter:
            memory = counter.better(way, shape, memory, free)
        verdict = verdict_of(memory, free)
        if verdict == "fits":
            return way, memory, verdict
        if verdict == "tight" and (tight is None or memory.total_gib < tight[1].total_gib):
            tight = (way, memory, verdict)
        if least is None or memory.total_gib <= least[1].total_gib:
            least = (way, memory, "exceeds")
    assert least is not None
    return tight or least
