"""What would stop a job here, each with its fix."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from appliance import settings
from appliance.hardware import existing, in_container, probe
from appliance.hardware.types import Hardware
from appliance.locale import _

# PyTorch's data loaders and vLLM's and NCCL's workers talk through /dev/shm; Docker gives 64 MB.
_ENOUGH_SHM_GIB = 1.0
# An 8B model (16 GB) and its merged copy's first steps; on a processor only small models make sense.
_ENOUGH_DISK_GIB, _ENOUGH_DISK_CPU_GIB = 40.0, 5.0
DEFAULT_PORT = 8000


@dataclass(frozen=True)
class Check:
    """One thing looked at. `fix` is empty when `ok`."""

    name: str
    ok: bool
    sentence: str
    fix: str = ""


def doctor(workspace: Path, hardware: Hardware | None = None, port: int = DEFAULT_PORT) -> list[Check]:
    """All checks, good and bad. `hardware` spares a second probe."""
    hardware = hardware or probe(workspace)
    return [
        check_driver(hardware),
        check_shm(hardware),
        check_disk(workspace, hardware),
        check_writable(workspace),
        check_mount(workspace, in_container()),
        check_training(),
        check_port(port),
        check_terminal(getattr(sys.stdout, "encoding", None)),
    ]


def check_driver(hardware: Hardware) -> Check:
    """Whether a GPU that is there can be used."""
    problem = hardware.driver_problem
    if problem:
        return Check("gpu", False, problem.sentence, problem.fix)
    if not hardware.accelerators:
        return Check("gpu", True, _("There is no GPU that can be used: small models run on the processor."))
    names = ", ".join(card.name for card in hardware.accelerators)
    return Check("gpu", True, _("GPU: {names}.").format(names=names))


def check_shm(hardware: Hardware) -> Check:
    """Shared memory, which Docker gives little of."""
    if hardware.shm_gib is None or hardware.shm_gib >= _ENOUGH_SHM_GIB or not hardware.accelerators:
        return Check("shm", True, _("/dev/shm is large enough."))  # noqa: S108
    return Check(
        "shm",
        False,
        _("/dev/shm has only {mib:.0f} MiB: serving with vLLM or on several GPUs would fail.").format(  # noqa: S108
            mib=hardware.shm_gib * 1024
        ),
        _("Start the container with: docker run --shm-size 8g …")
        if hardware.container
        else "sudo mount -o remount,size=8G /dev/shm",
    )


def check_disk(workspace: Path, hardware: Hardware) -> Check:
    """Room for a model and what is made of it."""
    wanted = _ENOUGH_DISK_GIB if hardware.accelerators else _ENOUGH_DISK_CPU_GIB
    sentence = _("{free:.0f} GiB are free for {folder}.").format(free=hardware.disk_free_gib, folder=workspace)
    if hardware.disk_free_gib >= wanted:
        return Check("disk", True, sentence)
    return Check(
        "disk",
        False,
        sentence,
        _(
            "Free up to {wanted:.0f} GiB (`appliance jobs remove ID` removes finished jobs), "
            "or set APPLIANCE_HOME to a folder on a larger disk."
        ).format(wanted=wanted),
    )


def check_writable(workspace: Path) -> Check:
    """Whether this user can write where everything is kept. Leaves nothing behind."""
    place = existing(workspace)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        owner = f"{os.getuid()}:{os.getgid()}"
        if in_container():
            fix = _("On the host: sudo chown -R {owner} FOLDER, where FOLDER is what you mount at {place}.").format(
                owner=owner, place=place
            )
        else:
            fix = f"sudo chown -R {owner} {place}"
        reason = error.strerror or str(error)
        return Check(
            "workspace", False, _("{folder} can't be written: {reason}.").format(folder=place, reason=reason), fix
        )
    return Check("workspace", True, _("The workspace {folder} can be written.").format(folder=workspace))


def check_mount(workspace: Path, container: bool) -> Check:
    """In a container, whether the workspace outlives it."""
    if not container:
        return Check("volume", True, _("The workspace is on this machine's own disk."))
    if any(os.path.ismount(place) for place in (workspace, *workspace.parents) if place != place.parent):
        return Check("volume", True, _("The workspace {folder} is on a volume.").format(folder=workspace))
    return Check(
        "volume",
        False,
        _("{folder} is inside the container: everything in it goes when the container is removed.").format(
            folder=workspace
        ),
        _("Start it with a volume: docker run -v $PWD/appliance-data:{folder} …").format(folder=workspace),
    )


def check_training() -> Check:
    """Whether the training environment is installed."""
    python = settings.python_of("train")
    if python.exists():
        return Check("training", True, _("The training environment is installed."))
    return Check(
        "training",
        False,
        _("The training environment is not installed: {python} is missing.").format(python=python),
        "make setup",
    )


def check_port(port: int) -> Check:
    """Whether a server can be started on the usual port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(1)
        except OSError:
            return Check(
                "port",
                False,
                _("Port {port} is taken by another program.").format(port=port),
                _("Serve on another one: appliance serve MODEL --port {port}").format(port=port + 1),
            )
    return Check("port", True, _("Port {port} is free.").format(port=port))


def check_terminal(encoding: str | None) -> Check:
    """Whether Chinese and lines can be shown."""
    if (encoding or "").lower().replace("-", "") in ("utf8", "utf8sig"):
        return Check("terminal", True, _("The terminal shows UTF-8."))
    return Check(
        "terminal",
        False,
        _("The terminal's encoding is {encoding}, not UTF-8: Chinese text would be garbled.").format(
            encoding=encoding or "?"
        ),
        "export LANG=C.UTF-8",
    )
