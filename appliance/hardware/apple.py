"""Apple silicon: one chip, one memory, of which Metal may use a part."""

from __future__ import annotations

import platform
import sys

from appliance.hardware.cpu import GIB, sysctl
from appliance.hardware.types import Accelerator, Cpu

# Metal's recommendedMaxWorkingSetSize is about three quarters of unified memory; beyond it MPS refuses to allocate.
METAL_SHARE = 0.75
# PyTorch's MPS backend has bfloat16 from macOS 14 up.
_BF16_SINCE = 14


def read(cpu: Cpu) -> list[Accelerator]:
    """The chip's GPU as an accelerator of kind `mps`; nothing on any other machine."""
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    total = sysctl("hw.memsize")
    total_gib = int(total) / GIB if total.isdigit() else cpu.memory_gib
    return [
        describe(sysctl("machdep.cpu.brand_string") or "Apple silicon", total_gib, cpu.free_gib, platform.mac_ver()[0])
    ]


def describe(name: str, total_gib: float, available_gib: float, macos: str) -> Accelerator:
    """The accelerator of a chip with so much unified memory (GiB), so much of it available, under this macOS."""
    major = macos.split(".")[0]
    return Accelerator(
        kind="mps",
        name=name,
        index=0,
        memory_gib=round(total_gib, 2),
        nominal_gb=round(total_gib),
        free_gib=round(min(total_gib * METAL_SHARE, available_gib), 2),
        compute_capability=None,
        bf16=major.isdigit() and int(major) >= _BF16_SINCE,
    )
