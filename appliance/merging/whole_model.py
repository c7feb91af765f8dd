"""What merging takes where peft does it, with the whole model in memory: the front says so before it begins."""

from __future__ import annotations

from pathlib import Path

from appliance import output
from appliance.errors import ApplianceError
from appliance.hardware import cpu
from appliance.locale import _

# The model, the float32 copies of one layer's weights, and the libraries.
_TIMES_THE_WEIGHTS = 1.25
_LIBRARIES_BYTES = 2**30


def needed_bytes(base: Path) -> int:
    """Of memory, for this base and any adapter."""
    weights = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    return int(weights * _TIMES_THE_WEIGHTS) + _LIBRARIES_BYTES


def check_memory(base: Path) -> None:
    """Raises ApplianceError when the model does not fit into the memory that is free."""
    needed = needed_bytes(base)
    free = int(cpu.read(Path("/")).free_gib * 2**30)
    if free < needed:
        raise ApplianceError(
            _("The memory is not enough to merge this kind of adapter."),
            _("It goes through peft, which needs {needed}; {free} are free.").format(
                needed=output.size(needed), free=output.size(free)
            ),
            _("Close other programs, or merge it on a machine with more memory."),
        )
