"""What is this machine?  probe() -> Hardware."""

from __future__ import annotations

import os
from pathlib import Path

from appliance import settings
from appliance.hardware import apple, cpu, nvidia
from appliance.hardware.types import Accelerator, Cpu, Hardware, Holder, Problem
from appliance.locale import _

__all__ = ["Accelerator", "Cpu", "Hardware", "Holder", "Problem", "probe"]

_AMD = "0x1002"


def probe(workspace: Path | None = None, root: Path = Path("/")) -> Hardware:
    """Everything seen, in at most 50 ms, without an exception.

    workspace  the folder whose disk counts; default: settings.home()
    root       `/`, or a folder that holds another machine's /proc, /sys and /dev
    """
    container = in_container(root)
    processor = cpu.read(root)
    found = nvidia.read(root, container, processor)
    warnings = found.warnings + _others(root)
    if found.problem:
        warnings.append(f"{found.problem.sentence} {found.problem.fix}")
    for card in found.cards:
        if card.holders and card.free_gib < 0.9 * card.memory_gib:
            names = ", ".join(f"{h.name or '?'} (pid {h.pid})" for h in card.holders)
            warnings.append(
                _("On GPU {index}, {used:.1f} GiB are taken by other programs: {names}.").format(
                    index=card.index, used=card.memory_gib - card.free_gib, names=names
                )
            )
    return Hardware(
        accelerators=found.cards + apple.read(processor),
        cpu=processor,
        disk_free_gib=free_gib(workspace or settings.home()),
        shm_gib=_shm_gib(root),
        driver=found.driver,
        cuda=found.cuda,
        container=container,
        warnings=warnings,
        driver_problem=found.problem,
    )


def in_container(root: Path = Path("/")) -> bool:
    """Whether this runs inside a container."""
    return settings.in_container() or any((root / name).exists() for name in (".dockerenv", "run/.containerenv"))


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))


def free_gib(folder: Path) -> float:
    """Free GiB for this user on the disk where the folder is, or would be."""
    try:
        disk = os.statvfs(existing(folder))
    except OSError:
        return 0.0
    return round(disk.f_bavail * disk.f_frsize / cpu.GIB, 2)


def _shm_gib(root: Path) -> float | None:
    try:
        disk = os.statvfs(root / "dev/shm")
    except OSError:  # macOS has none
        return None
    return round(disk.f_blocks * disk.f_frsize / cpu.GIB, 3)


def _others(root: Path) -> list[str]:
    """Accelerators that are seen and named, but not used."""
    warnings = []
    if _AMD in nvidia.display_vendors(root) or (root / "dev/kfd").exists():
        warnings.append(_("An AMD GPU was seen. It is not used: PyTorch in here is built for NVIDIA and processors."))
    try:
        ascend = any(entry.name.startswith("davinci") for entry in os.scandir(root / "dev"))
    except OSError:
        ascend = False
    if ascend:
        warnings.append(_("An Ascend NPU was seen. It is not used: it needs Huawei's torch_npu, which is not in here."))
    return warnings
