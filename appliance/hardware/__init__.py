"""What is this machine?  probe() -> Hardware."""

from __future__ import annotations

import os
from pathlib import Path

from appliance import settings
from appliance.hardware import amd, apple, ascend, cpu, nvidia
from appliance.hardware.types import Accelerator, Cpu, Hardware, Holder, Problem
from appliance.locale import _

__all__ = ["Accelerator", "Cpu", "Hardware", "Holder", "Problem", "probe"]


def probe(workspace: Path | None = None, root: Path = Path("/")) -> Hardware:
    """Everything seen, in at most 50 ms (where npu-smi is, a second at most), without an exception.

    workspace  the folder whose disk counts; default: settings.home()
    root       `/`, or a folder that holds another machine's /proc, /sys and /dev
    """
    container = in_container(root)
    processor = cpu.read(root)
    found = nvidia.read(root, container, processor)
    others, sentences = _others(root)
    warnings = [*found.warnings, *map(str, found.ill), *sentences]
    if found.problem:
        warnings.append(str(found.problem))
    for card in found.cards:
        if card.holders and card.free_gib < 0.9 * card.memory_gib:
            names = ", ".join(map(_held, card.holders))
            warnings.append(
                _("On GPU {index}, {used:.1f} GiB are taken by other programs: {names}.").format(
                    index=card.index, used=card.memory_gib - card.free_gib, names=names
                )
            )
    return Hardware(
        accelerators=found.cards + apple.read(processor) + others,
        cpu=processor,
        disk_free_gib=free_gib(workspace or settings.home()),
        shm_gib=_shm_gib(root),
        driver=found.driver,
        cuda=found.cuda,
        container=container,
        warnings=warnings,
        driver_problem=found.problem,
        card_problems=found.ill,
    )


def _held(holder: Holder) -> str:
    share = "" if holder.memory_gib is None else f", {holder.memory_gib:.1f} GiB"
    return f"{holder.name or '?'} (pid {holder.pid}{share})"


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


def _others(root: Path) -> tuple[list[Accelerator], list[str]]:
    """Accelerators that are seen and named but not used, with a sentence for each kind and for each that is ill."""
    amds, npus = amd.read(root), ascend.read(root)
    warnings = [maker.sentence(cards[0]) for maker, cards in ((amd, amds), (ascend, npus)) if cards]
    if not amds and amd.VENDOR in nvidia.display_vendors(root):
        warnings.insert(
            0,
            _(
                "An AMD GPU was seen, but its driver (amdgpu) shows no memory of it. It would not be used either: "
                "PyTorch in here is built for NVIDIA and processors."
            ),
        )
    return amds + npus, warnings + [sentence for card in npus for sentence in card.warnings]
