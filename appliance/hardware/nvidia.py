"""NVIDIA cards through NVML (nvidia-ml-py), and, where there are none to be had, which of the usual reasons holds."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.hardware import nvidia_card
from appliance.hardware.nvidia_card import quietly, text
from appliance.hardware.types import CUDA_OF_THIS_IMAGE, OLDEST_DRIVER, Accelerator, Cpu, Problem
from appliance.locale import _

_LIBRARY = "libnvidia-ml.so.1"
_VENDOR = "0x10de"


@dataclass
class Nvidia:
    """What NVML told. `problem` is None when the cards can be used, or when there are none to be missed.

    ill  what is wrong with single cards
    """

    cards: list[Accelerator] = field(default_factory=list)
    driver: str | None = None
    cuda: str | None = None
    warnings: list[str] = field(default_factory=list)
    ill: list[Problem] = field(default_factory=list)
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
        quietly(pynvml, pynvml.nvmlShutdown)


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
    found = Nvidia(driver=text(quietly(pynvml, pynvml.nvmlSystemGetDriverVersion)))
    version = quietly(pynvml, pynvml.nvmlSystemGetCudaDriverVersion_v2)
    if isinstance(version, int):
        found.cuda = f"{version // 1000}.{version % 1000 // 10}"
    count = int(pynvml.nvmlDeviceGetCount())
    seen: list[Accelerator] = []
    for index in range(count):
        try:
            cards, problems = nvidia_card.read(pynvml, index, root, cpu)
        except pynvml.NVMLError as error:
            found.ill.append(_left_out(pynvml, error, index))
            continue
        seen += cards
        found.ill += problems
    # No two alike: a card's first slice has the card's index, its others follow after all cards.
    parents: set[int] = set()
    after = count
    for card in seen:
        if card.parent in parents:
            card.index, after = after, after + 1
        elif card.parent is not None:
            parents.add(card.parent)
    found.cards = _visible(seen)
    if len(found.cards) < len(seen):
        found.warnings.append(
            _("CUDA_VISIBLE_DEVICES shows {shown} of {count} GPUs to this program.").format(
                shown=len(found.cards), count=len(seen)
            )
        )
    head = (found.driver or "").split(".")[0]
    if not count:
        found.problem = _no_device(root, on_board, container)
    elif not seen and found.ill:  # the only card
        found.problem = found.ill.pop()
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


def _left_out(pynvml: Any, error: Any, index: int) -> Problem:
    if getattr(error, "value", None) == pynvml.NVML_ERROR_GPU_IS_LOST:
        return Problem(
            _("GPU {index} is lost: the machine no longer reaches it.").format(index=index),
            _("Restart the machine; if it is lost again, look at the card's seat, its power and its temperature."),
        )
    return Problem(
        _('GPU {index} is left out: it reports "{error}".').format(index=index, error=error),
        _("A restart of the machine often brings it back."),
    )


def _visible(cards: list[Accelerator]) -> list[Accelerator]:
    """Those that CUDA_VISIBLE_DEVICES names, by number or by the beginning of a UUID; all when it is not set."""
    words = [word.strip() for word in settings.variable("CUDA_VISIBLE_DEVICES").split(",") if word.strip()]
    if not words:
        return cards
    shown: list[Accelerator] = []
    for word in words:
        if word.lstrip("-").isdigit():
            # A number is a whole card's, and in MIG mode stands for its first slice.
            named = [card for card in cards if card.index == int(word)]
        else:
            named = [card for card in cards if (card.uuid or "").startswith(word)]
        if not named:  # CUDA stops at the first word that names nothing, so that "-1" hides all
            break
        shown += named[:1]
    return [card for card in cards if card in shown]


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
