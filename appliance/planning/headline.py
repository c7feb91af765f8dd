"""What this machine means, in one or two sentences, for the menu's first screen. Reads no file, imports nothing big."""

from __future__ import annotations

from appliance.hardware.types import Hardware
from appliance.locale import _
from appliance.planning.card import best_card, team
from appliance.planning.generic import largest

# On a processor patience ends before memory does: more parameters than that take days.
_LARGEST_ON_CPU = "0.6B"


def headline(hardware: Hardware) -> list[str]:
    """One or two sentences about what can be fine-tuned here; sizes are of models, from memory in total."""
    card, refused = best_card(hardware)
    if card is None:
        return _processor(hardware, refused)
    if card.kind == "mps":
        size = largest("lora", card.free_gib, "mps")
        text = _("{gb} GB shared memory: models up to {size} with LoRA now.") if size else ""
        return [
            (text or _("{gb} GB shared memory: too little is free to fine-tune.")).format(gb=card.nominal_gb, size=size)
        ]
    lora, qlora = largest("lora", card.memory_gib, "cuda"), largest("qlora", card.memory_gib, "cuda")
    if lora and lora != qlora:
        text = _("{gb} GB: {lora} models with LoRA, {qlora} with QLoRA.")
    elif lora:
        text = _("{gb} GB: models up to {lora} with LoRA.")
    elif qlora:
        text = _("{gb} GB: models up to {qlora} with QLoRA.")
    else:
        text = _("{gb} GB: too little for fine-tuning.")
    sentences = [text.format(gb=card.nominal_gb, lora=lora, qlora=qlora)]
    if card.free_gib < 0.9 * card.memory_gib:
        text = _("Only {free:.1f} GiB of it are free now: other programs hold the rest.")
        sentences.append(text.format(free=card.free_gib))
    elif (count := sum(one.kind == "cuda" for one in hardware.accelerators)) > 1:
        together, _why = team(hardware)
        text = _("{count} GPUs: a job uses one of them.")
        if len(together) > 1:
            text = _("{count} GPUs, of which {together} can fine-tune together.")
        sentences.append(text.format(count=count, together=len(together)))
    return sentences


def _processor(hardware: Hardware, refused: str) -> list[str]:
    fits = largest("lora", hardware.cpu.memory_gib, "cpu") is not None
    if hardware.accelerators or hardware.driver_problem:
        first = hardware.driver_problem.sentence if hardware.driver_problem else refused
        if any(first in warning for warning in hardware.warnings):  # said there already, with its fix
            return [_("Small models up to about {size} train on the processor, slowly.").format(size=_LARGEST_ON_CPU)]
        second = _("Small models up to about {size} train on the processor, slowly.")
        return [first, second.format(size=_LARGEST_ON_CPU)] if fits else [first]
    text = _("No GPU: small models up to about {size} train on the processor, slowly.")
    return [(text if fits else _("No GPU and little memory: only very small models.")).format(size=_LARGEST_ON_CPU)]
