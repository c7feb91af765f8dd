"""NVIDIA cards through NVML (nvidia-ml-py), and, where there are none to be had, which of the usual reasons holds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.hardware.cpu import GIB
from appliance.hardware.types import CUDA_OF_THIS_IMAGE, OLDEST_DRIVER, Accelerator, Cpu, Holder, Problem, nominal_gb
from appliance.locale import _

_LIBRARY = "libnvidia-ml.so.1"
_VENDOR = "0x10de"


@dataclass
class Nvidia:
    """What NVML told. `problem` is None when the cards can be used, or when there are none to be missed."""

    cards: list[Accelerator] = field(default_factory=list)
    driver: str | None = None
    cuda: str | None = None
    warnings: list[str] = field(default_factory=list)
    problem: Problem | None = None


def read(root: Path, container: bool, cpu: Cpu) -> Nvidia:
    """Every card; a card in error becomes a warning, a machine in error a problem. Never raises."""
    on_board = _VENDOR in display_vendors(root)
    # Importing pynvml takes 20 ms: only where there is something for it to talk to.
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return Nvidia(problem=_without_library(root, on_board, container))
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Nvidia(problem=_failed(pynvml, error, root, on_board, container))
    try:
        return _ask(pynvml, root, on_board, container, cpu)
    except pynvml.NVMLError as error:
        return Nvidia(problem=_failed(pynvml, error, root, on_board, container))
    finally:
        _quietly(pynvml, pynvml.nvmlShutdown)


def display_vendors(root: Path) -> set[str]:
    """Vendors (as "0x10de") of the machine's display controllers; in a container too, since sysfs shows the host's."""
    vendors = set()
    try:
        devices = list((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return set()
    for device in devices:
        try:
            # PCI class 0x03 is a display controller (0x0300 VGA, 0x0302 3D: what data-centre cards are).
            if (device / "class").read_text().startswith("0x03"):
                vendors.add((device / "vendor").read_text().strip().lower())
        except (OSError, UnicodeDecodeError):
            continue
    return vendors


def _ask(pynvml: Any, root: Path, on_board: bool, container: bool, cpu: Cpu) -> Nvidia:
    found = Nvidia(driver=_text(_quietly(pynvml, pynvml.nvmlSystemGetDriverVersion)))
    version = _quietly(pynvml, pynvml.nvmlSystemGetCudaDriverVersion_v2)
    if isinstance(version, int):
        found.cuda = f"{version // 1000}.{version % 1000 // 10}"
    count = int(pynvml.nvmlDeviceGetCount())
    visible = _visible()
    for index in range(count):
        if visible is not None and index not in visible:
            continue
        try:
            found.cards.append(_card(pynvml, index, root, cpu))
        except pynvml.NVMLError as error:
            found.warnings.append(
                _(
                    'GPU {index} is left out: it reports "{error}". A restart of the machine often brings it back.'
                ).format(index=index, error=error)
            )
    if visible is not None and len(visible) < count:
        found.warnings.append(
            _("CUDA_VISIBLE_DEVICES shows {shown} of {count} GPUs to this program.").format(
                shown=len([i for i in visible if i < count]), count=count
            )
        )
    head = (found.driver or "").split(".")[0]
    if not count:
        found.problem = _no_device(root, on_board, container)
    elif head.isdigit() and int(head) < OLDEST_DRIVER:
        found.problem = Problem(
            _(
                "The NVIDIA driver {driver} is too old: CUDA {cuda} in here needs {oldest} or newer, "
                "so the GPU can't be used."
            ).format(driver=found.driver, cuda=CUDA_OF_THIS_IMAGE, oldest=OLDEST_DRIVER),
            _(
                "Install a newer driver on the host (on Ubuntu: sudo apt install nvidia-driver-{oldest}-server), "
                "then restart it."
            ).format(oldest=OLDEST_DRIVER),
        )
    return found


def _card(pynvml: Any, index: int, root: Path, cpu: Cpu) -> Accelerator:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = _text(pynvml.nvmlDeviceGetName(handle)) or "NVIDIA"
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = memory.total / GIB, memory.free / GIB
    except pynvml.NVMLError_NotSupported:  # chips that share the processor's memory (GB10, Jetson)
        total, free = cpu.memory_gib, cpu.free_gib
    return Accelerator(
        kind="cuda",
        name=name,
        index=index,
        memory_gib=round(total, 2),
        nominal_gb=nominal_gb(total),
        free_gib=round(free, 2),
        compute_capability=f"{major}.{minor}",
        bf16=major >= 8,  # Ampere was the first with bf16 tensor cores
        holders=_holders(pynvml, handle, root),
    )


def _holders(pynvml: Any, handle: Any, root: Path) -> list[Holder]:
    held: dict[int, float | None] = {}
    for question in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _quietly(pynvml, question, handle) or []:
            share = process.usedGpuMemory
            held[process.pid] = round(share / GIB, 2) if share else held.get(process.pid)
    return [Holder(pid, _process_name(pynvml, pid, root), share) for pid, share in sorted(held.items())]


def _process_name(pynvml: Any, pid: int, root: Path) -> str | None:
    try:
        return (root / f"proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # another pid namespace: NVML knows it by the host's
        name = _text(_quietly(pynvml, pynvml.nvmlSystemGetProcessName, pid))
        return Path(name).name if name else None


def _visible() -> set[int] | None:
    """The indices that CUDA_VISIBLE_DEVICES names; None when it is not set or names cards by UUID."""
    words = [word.strip() for word in settings.variable("CUDA_VISIBLE_DEVICES").split(",") if word.strip()]
    if not words or not all(word.lstrip("-").isdigit() for word in words):
        return None
    # CUDA stops at the first number that is no card's, so that "-1" hides all.
    numbers = [int(word) for word in words]
    return set(numbers[: next((i for i, n in enumerate(numbers) if n < 0), len(numbers))])


def _quietly(pynvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """An answer that older drivers, or some cards, don't give; None then."""
    try:
        return question(*arguments)
    except (pynvml.NVMLError, UnicodeDecodeError):
        return None


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _without_library(root: Path, on_board: bool, container: bool) -> Problem | None:
    driver_loaded = (root / "proc/driver/nvidia/version").exists()
    if not on_board and not driver_loaded:
        return None
    if not container:
        if driver_loaded:
            return Problem(
                _("There is an NVIDIA GPU, but its driver is only half installed: {library} is missing.").format(
                    library=_LIBRARY
                ),
                _("Install the driver again (on Debian and Ubuntu: sudo apt install --reinstall libnvidia-compute-…)."),
            )
        return _no_driver()
    return _no_device(root, on_board, container)


def _no_driver() -> Problem:
    return Problem(
        _("There is an NVIDIA GPU, but no NVIDIA driver."),
        _(
            "Install driver {oldest} or newer on the host, then restart it (on Ubuntu: sudo ubuntu-drivers install)."
        ).format(oldest=OLDEST_DRIVER),
    )


def _no_device(root: Path, on_board: bool, container: bool) -> Problem | None:
    """The reason why a driver, if there is one, shows no card."""
    driver_loaded = (root / "proc/driver/nvidia/version").exists()
    if not on_board and not driver_loaded:
        return None
    if not driver_loaded:
        return _no_driver()
    if not container:
        return Problem(
            _("There is an NVIDIA GPU, but its driver shows no card."),
            _("Restart the machine; if that does not help, install the driver again."),
        )
    if (root / "dev/nvidiactl").exists():
        return Problem(
            _("The GPU's device files are in this container, the driver's libraries are not: the toolkit is missing."),
            _("Install nvidia-container-toolkit on the host, then start the container with: docker run --gpus all …"),
        )
    return Problem(
        _("The host has an NVIDIA GPU, but this container was started without it."),
        _(
            "Start it with: docker run --gpus all … (if docker then knows no such driver, "
            "install nvidia-container-toolkit on the host)."
        ),
    )


def _failed(pynvml: Any, error: Any, root: Path, on_board: bool, container: bool) -> Problem | None:
    """A library that loads but does not start."""
    code = getattr(error, "value", None)
    if code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return Problem(
            _("The NVIDIA driver was updated, but the old one is still running: library and driver do not match."),
            _("Restart the machine (a container: start it anew after the host's restart)."),
        )
    if code in (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_GPU_NOT_FOUND, pynvml.NVML_ERROR_NOT_FOUND):
        if container or not on_board:
            return _no_device(root, on_board, container)
        return Problem(
            _("The NVIDIA driver is installed, but not loaded."),
            _("Restart the machine, or load it with: sudo modprobe nvidia (Secure Boot may forbid it)."),
        )
    if code == pynvml.NVML_ERROR_NO_PERMISSION:
        return Problem(
            _("This user may not talk to the NVIDIA driver."),
            _("Give it read and write rights on /dev/nvidia*, or add it to the group that has them."),
        )
    return Problem(
        _("The NVIDIA driver does not answer: {error}.").format(error=error),
        _("Run nvidia-smi on the host: it shows the same error and often more; a restart of the machine often helps."),
    )
