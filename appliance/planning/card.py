"""Which accelerators a job uses, if any, and why."""

from __future__ import annotations

from appliance.hardware.types import Accelerator, Hardware
from appliance.locale import _

# The oldest silicon with tensor cores (Volta); below it 16-bit arithmetic is slower than 32-bit.
OLDEST_CAPABILITY = (7, 0)
# Cards that work together wait for the slowest and have room for what the fullest has: one with less of it free than
# that share of the best one's would cost more than it brings.
_ENOUGH_FREE = 0.8


def best_card(hardware: Hardware) -> tuple[Accelerator | None, str]:
    """The accelerator to use, with the reason; None means the processor."""
    usable, refused = _usable(hardware)
    if not usable:
        return None, refused or _("There is no GPU, so the processor is used.")
    card = max(usable, key=lambda one: (one.free_gib, -one.index))
    if len(usable) > 1:
        sentence = _("GPU {index} ({name}) has the most free memory of {count}.")
        return card, sentence.format(index=card.index, name=card.name, count=len(usable))
    return card, _("{name} is the only GPU.").format(name=card.name)


def team(hardware: Hardware) -> tuple[list[Accelerator], str]:
    """The cards that can work together with the best one, itself among them, by number; and why others can't.

    They are of one make and about as free. Slices (MIG) work alone: NCCL does not connect them.
    """
    best, _why = best_card(hardware)
    if best is None:
        return [], ""
    usable, _refused = _usable(hardware)
    if best.kind != "cuda" or len(usable) == 1:
        return [best], ""
    if best.parent is not None:
        return [best], _("Slices of a card can't work together.")
    same = [card for card in usable if card.name == best.name and card.parent is None]
    free = [card for card in same if card.free_gib >= _ENOUGH_FREE * best.free_gib]
    why = ""
    if len(free) < len(same):
        held = ", ".join(str(card.index) for card in same if card not in free)
        why = _("Other programs hold memory of GPU {held}.").format(held=held)
    elif len(same) < len(usable):
        why = _("The others are of another kind.")
    return sorted(free, key=lambda card: card.index), why


def _usable(hardware: Hardware) -> tuple[list[Accelerator], str]:
    """(cards that a job can run on, why the last of the others can't be used)."""
    refused = ""
    usable = []
    for card in hardware.accelerators:
        if card.kind == "mps":
            usable.append(card)
        elif card.kind != "cuda":
            refused = _("{name} is not supported in here, so the processor is used.").format(name=card.name)
        elif card.capability() < OLDEST_CAPABILITY:
            refused = _(
                "{name} is too old (compute capability {capability}, needed is 7.0), so the processor is used."
            ).format(name=card.name, capability=card.compute_capability)
        elif hardware.driver_too_old():
            refused = _("The NVIDIA driver {driver} is too old, so the processor is used.").format(
                driver=hardware.driver
            )
        else:
            usable.append(card)
    return usable, refused
