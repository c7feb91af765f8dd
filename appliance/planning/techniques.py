"""What makes a training faster or smaller, and changes nothing of what is learned: used where it helps, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

from appliance.locale import _
from appliance.planning.lengths import Lengths
from appliance.planning.shape import Shape
from appliance.planning.way import Way
from appliance.planning.wish import Wish

# Tasks whose rows go through the model once, each for itself; the others compare answers, and TRL lays those out.
PLAIN_TASKS = ("sft", "pretrain")
# Full packs are a little less than full: no set of rows adds up exactly.
_FILLED = 0.95
# Fewer packs than that are hardly mixed: the same rows would meet at every pass.
_FEWEST_PACKS = 64
# Families that liger-kernel 0.8 has kernels for (its monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN).
_LIGER = (
    "deepseek_v2", "deepseek_v3", "gemma", "gemma2", "gemma3_text", "gemma3", "glm4", "gpt_oss", "granite", "internvl",
    "llama", "ministral", "mistral", "mixtral", "olmo2", "olmo3", "phi3", "qwen2", "qwen2_vl", "qwen2_5_vl", "qwen3",
    "qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_5", "qwen3_5_text", "smollm3",
)  # fmt: skip


@dataclass(frozen=True)
class Techniques:
    """Switches, and what a step consists of. `rows_a_pack`: rows that share one of its micro_batch × accumulation."""

    padding_free: bool
    packing: bool
    flash: bool
    liger: bool
    micro_batch: int
    accumulation: int
    rows_a_pack: float = 1.0


def decide(
    chosen: Way,
    shape: Shape,
    lengths: Lengths | None,
    rows: int | None,
    batch: int,
    wanted: Wish,
    reasons: dict[str, str],
) -> Techniques:
    """`batch`: the rows that a step of all cards should learn from."""
    accumulation = max(1, round(batch / (chosen.micro_batch * chosen.gpus)))
    free = _padding_free(chosen, shape, wanted, reasons)
    liger = _liger(chosen, shape, wanted, reasons)
    flash = _flash(chosen, free, wanted, reasons)
    alone = Techniques(free, False, flash, liger, chosen.micro_batch, accumulation)
    if not free:
        if wanted.packing:
            reasons["packing"] = _("Not possible where rows are padded.")
        return alone
    mean = sum(lengths.tokens) / len(lengths.tokens) if lengths and lengths.tokens else chosen.length
    together = max(1.0, _FILLED * chosen.length / mean)
    packs = max(1, round(batch / together / chosen.gpus))  # on each card
    micro = max(1, min(chosen.micro_batch, packs))
    packed = Techniques(True, True, flash, liger, micro, max(1, round(packs / micro)), together)
    if wanted.packing is not None:
        reasons["packing"] = _("You asked for it.")
        return packed if wanted.packing else alone
    if chosen.task == "pretrain":
        reasons["packing"] = _("Short texts share a row of {length} tokens; long ones go on in the next.").format(
            length=chosen.length
        )
        return packed
    enough = rows is not None and rows / together >= _FEWEST_PACKS
    if enough and 2 * packed.accumulation <= accumulation:
        reasons["packing"] = _(
            "A few rows are long, most are short: about {n:.0f} of them share a place of {length} tokens, and a step "
            "takes {packed} turns instead of {turns}."
        ).format(n=together, length=chosen.length, packed=packed.accumulation, turns=accumulation)
        return packed
    reasons["packing"] = _("Rows of this length fill a step well enough by themselves.")
    return alone


def _padding_free(chosen: Way, shape: Shape, wanted: Wish, reasons: dict[str, str]) -> bool:
    why = ""
    if chosen.task not in PLAIN_TASKS:
        why = _("Answers that are compared are laid out side by side.")
    elif chosen.sharding in ("fsdp", "zero3"):
        why = _("The cards share the weights: rows are laid out side by side.")
    elif shape.vision:
        why = _("Rows with pictures are laid out side by side.")
    elif shape.own_scores:
        why = _("This model computes its attention in a way that needs rows side by side.")
    elif wanted.padding_free is not None:
        reasons["padding_free"] = _("You asked for it.")
        return wanted.padding_free
    else:
        reasons["padding_free"] = _("Rows go through the model end to end, each seeing only itself: nothing is padded.")
        return True
    reasons["padding_free"] = why
    return False


def _flash(chosen: Way, free: bool, wanted: Wish, reasons: dict[str, str]) -> bool:
    if chosen.device != "cuda":
        reasons["flash"] = _("The flash_attn package is for NVIDIA cards: attention by PyTorch's own kernels.")
        return False
    if not free:
        reasons["flash"] = _("Rows that are laid out side by side go through PyTorch's own kernels.")
        return False
    if wanted.flash is not None:
        reasons["flash"] = _("You asked for it.")
        return wanted.flash
    reasons["flash"] = _("By the flash_attn package where it is installed, else by PyTorch's own kernels.")
    return True


def _liger(chosen: Way, shape: Shape, wanted: Wish, reasons: dict[str, str]) -> bool:
    if chosen.device != "cuda":
        reasons["liger"] = _("Liger's kernels are for NVIDIA cards.")
        return False
    if shape.model_type not in _LIGER:
        reasons["liger"] = _("Liger has no kernels for {family}.").format(family=shape.model_type)
        return False
    if wanted.liger is not None:
        reasons["liger"] = _("You asked for it.")
        return wanted.liger
    reasons["liger"] = _("Liger's kernels do norms, rotations and the MLP's product in one go each.")
    return True


def steps_of(tokens: float, length: int, packs: int, epochs: float) -> int:
    """Steps of that many packs to go over so many tokens that many times."""
    return max(1, math.ceil(epochs * math.ceil(tokens / (_FILLED * length)) / packs))
