"""One NVIDIA card as NVML describes it: memory, holders, health, and the slices (MIG) it is cut into."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.hardware.cpu import GIB
from appliance.hardware.types import Accelerator, Cpu, Holder, Problem, nominal_gb
from appliance.locale import _

_PROFILE = re.compile(r"\bMIG (?:\d+c\.)?\d+g\.(\d+)gb")


def quietly(pynvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """An answer that older drivers, or some cards, don't give; None then."""
    try:
        return question(*arguments)
    except (pynvml.NVMLError, UnicodeDecodeError):
        return None


def text(value: Any) -> str | None:
    """NVML's texts, which are bytes in some versions of pynvml."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def read(pynvml: Any, index: int, root: Path, cpu: Cpu) -> tuple[list[Accelerator], list[Problem]]:
    """The card, or its slices where it is cut into some (it can't be used as a whole then), and what is wrong with it.

    Raises NVMLError for a card in error.
    """
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = text(pynvml.nvmlDeviceGetName(handle)) or "NVIDIA"
    problems = _health(pynvml, handle, index, name)
    mode = quietly(pynvml, pynvml.nvmlDeviceGetMigMode, handle)
    if mode and mode[0]:
        cards = [_slice(pynvml, one, handle, name, index, root) for one in _slices(pynvml, handle)]
        if not cards:
            problems.append(
                Problem(
                    _("GPU {index} ({name}) is in MIG mode without a slice, so it can't be used.").format(
                        index=index, name=name
                    ),
                    _(
                        "Make a slice (sudo nvidia-smi mig -i {index} -cgi PROFILE -C) or leave the mode "
                        "(sudo nvidia-smi -i {index} -mig 0)."
                    ).format(index=index),
                )
            )
    else:
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            total, free = memory.total / GIB, memory.free / GIB
        except pynvml.NVMLError_NotSupported:  # chips that share the processor's memory (GB10, Jetson)
            total, free = cpu.memory_gib, cpu.free_gib
        cards = [_described(pynvml, handle, handle, name, index, total, free, root)]
    for card in cards:
        card.warnings = [str(problem) for problem in problems]
    return cards, problems


def _described(
    pynvml: Any, handle: Any, whole: Any, name: str, index: int, total: float, free: float, root: Path
) -> Accelerator:
    """`handle` is the card's or the slice's, `whole` the card's; total and free memory in GiB."""
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(whole)
    profile = _PROFILE.search(name)
    return Accelerator(
        kind="cuda",
        name=name,
        index=index,
        memory_gib=round(total, 2),
        nominal_gb=int(profile.group(1)) if profile else nominal_gb(total),
        free_gib=round(free, 2),
        compute_capability=f"{major}.{minor}",
        bf16=major >= 8,  # Ampere was the first with bf16 tensor cores
        holders=_holders(pynvml, handle, root),
        uuid=text(quietly(pynvml, pynvml.nvmlDeviceGetUUID, handle)),
    )


def _slices(pynvml: Any, handle: Any) -> list[Any]:
    """Handles of the card's slices; numbers between them may be empty, in a container most are."""
    most = quietly(pynvml, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    found = (quietly(pynvml, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i) for i in range(most))
    return [one for one in found if one is not None]


def _slice(pynvml: Any, handle: Any, whole: Any, card_name: str, parent: int, root: Path) -> Accelerator:
    # A slice's memory is asked of the slice: in a container the whole card's may be forbidden.
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = text(quietly(pynvml, pynvml.nvmlDeviceGetName, handle)) or card_name
    if not _PROFILE.search(name):  # older drivers name the card alone
        name = f"{card_name} MIG {_profile(pynvml, handle, memory.total / GIB)}"
    card = _described(pynvml, handle, whole, name, parent, memory.total / GIB, memory.free / GIB, root)
    card.parent = parent
    return card


def _profile(pynvml: Any, handle: Any, total_gib: float) -> str:
    """As nvidia-smi names it: "3g.40gb", and "1c.3g.40gb" for a part of a slice's compute."""
    attributes = quietly(pynvml, pynvml.nvmlDeviceGetAttributes, handle)
    size = f"{nominal_gb(total_gib)}gb"
    if attributes is None:
        return size
    compute, graphics = attributes.computeInstanceSliceCount, attributes.gpuInstanceSliceCount
    return f"{'' if compute == graphics else f'{compute}c.'}{graphics}g.{size}"


def _health(pynvml: Any, handle: Any, index: int, name: str) -> list[Problem]:
    """Memory that fails; cards for players have no such counters."""

    def errors(since: int) -> int:
        kind = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        return quietly(pynvml, pynvml.nvmlDeviceGetTotalEccErrors, handle, kind, since) or 0

    card = {"index": index, "name": name}
    recent, ever = errors(pynvml.NVML_VOLATILE_ECC), errors(pynvml.NVML_AGGREGATE_ECC)
    _few, _many, pending, failed = quietly(pynvml, pynvml.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
    pending = pending or quietly(pynvml, pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    problems = []
    if recent:
        problems.append(
            Problem(
                _(
                    "GPU {index} ({name}) has had {count} memory errors since its last start that could not be "
                    "corrected: results may be wrong."
                ).format(**card, count=recent),
                _("Restart the machine; if they come again, have the card replaced."),
            )
        )
    elif ever:
        problems.append(
            Problem(
                _(
                    "GPU {index} ({name}) has had {count} memory errors in its life that could not be corrected, "
                    "none since its last start."
                ).format(**card, count=ever),
                _("It can be used; if more come, have it replaced."),
            )
        )
    if failed:
        problems.append(
            Problem(
                _("GPU {index} ({name}) has no spare memory rows left for broken ones.").format(**card),
                _("Have the card replaced."),
            )
        )
    if pending:
        problems.append(
            Problem(
                _("GPU {index} ({name}) has broken memory that is only taken out of use when it starts anew.").format(
                    **card
                ),
                _("Stop what runs on it, then: sudo nvidia-smi -i {index} -r (or restart the machine).").format(**card),
            )
        )
    return problems


def _holders(pynvml: Any, handle: Any, root: Path) -> list[Holder]:
    held: dict[int, float | None] = {}
    for question in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in quietly(pynvml, question, handle) or []:
            share = process.usedGpuMemory
            held[process.pid] = round(share / GIB, 2) if share else held.get(process.pid)
    return [Holder(pid, _process_name(pynvml, pid, root), share) for pid, share in sorted(held.items())]


def _process_name(pynvml: Any, pid: int, root: Path) -> str | None:
    try:
        return (root / f"proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # another pid namespace: NVML knows it by the host's
        name = text(quietly(pynvml, pynvml.nvmlSystemGetProcessName, pid))
        return Path(name).name if name else None
