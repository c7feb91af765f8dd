"""Which accelerator a job uses, if any, and why."""

from __future__ import annotations

from appliance.hardware.types import Accelerator, Hardware
from appliance.locale import _

# The oldest silicon with tensor cores (Volta); below it 16-bit arithmetic is slower than 32-bit.
OLDEST_CAPABILITY = (7, 0)


def best_card(hardware: Hardware) -> tuple[Accelerator | None, str]:
    """The accelerator to use, with the reason; None means the processor."""
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
    if not usable:
        return None, refused or _("There is no GPU, so the processor is used.")
    card = max(usable, key=lambda one: (one.free_gib, -one.index))
    if len(usable) > 1:
        sentence = _("GPU {index} ({name}) has the most free memory of {count}.")
        return card, sentence.format(index=card.index, name=card.name, count=len(usable))
    return card, _("{name} is the only GPU.").format(name=card.name)
