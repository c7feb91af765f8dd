"""What would stop a job here, each with its fix."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.hardware import existing, in_container, network, probe
from appliance.hardware.types import Hardware
from appliance.locale import _

# PyTorch's data loaders and vLLM's and NCCL's workers talk through /dev/shm; Docker gives 64 MB.
_ENOUGH_SHM_GIB = 1.0
# An 8B model (16 GB) and its merged copy's first steps; on a processor only small models make sense.
_ENOUGH_DISK_GIB, _ENOUGH_DISK_CPU_GIB = 40.0, 5.0
# Less than this and not even an adapter's checkpoints have room.
_LEAST_DISK_GIB = 2.0
# Certificates and the hubs' signed addresses are good for about a quarter of an hour around their time.
_CLOCK_SECONDS = 300.0
DEFAULT_PORT = 8000
OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    level  "ok"; "note": worth knowing, jobs run all the same; "problem": some job would stop for it
    fix    what to do or to type; empty when all is well
    """

    name: str
    level: str
    sentence: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Is there nothing to be said about it?"""
        return self.level == OK

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"name": self.name, "ok": self.ok, "level": self.level, "sentence": self.sentence, "fix": self.fix}


def doctor(workspace: Path, hardware: Hardware | None = None, port: int = DEFAULT_PORT) -> list[Check]:
    """All checks, good and bad. `hardware` spares a second probe."""
    hardware = hardware or probe(workspace)
    return [
        check_driver(hardware),
        *check_cards(hardware),
        check_shm(hardware),
        check_disk(workspace, hardware),
        check_writable(workspace),
        check_mount(workspace, in_container()),
        check_training(),
        check_port(port),
        check_terminal(getattr(sys.stdout, "encoding", None)),
        *check_network(network.ask()),
    ]


def check_driver(hardware: Hardware) -> Check:
    """Whether a GPU that is there can be used."""
    problem = hardware.driver_problem
    if problem:
        return Check("gpu", PROBLEM, problem.sentence, problem.fix)
    used = [card.name for card in hardware.accelerators if card.used_here]
    if used:
        return Check("gpu", OK, _("GPU: {names}.").format(names=", ".join(used)))
    if hardware.accelerators:
        return Check(
            "gpu",
            NOTE,
            _("{name} can't be used for training and serving here, so the processor is used.").format(
                name=hardware.accelerators[0].name
            ),
            _("Small models run on the processor; for larger ones take a machine with an NVIDIA card."),
        )
    return Check("gpu", OK, _("There is no GPU that can be used: small models run on the processor."))


def check_cards(hardware: Hardware) -> list[Check]:
    """A note for every single card that is lost or ill."""
    return [Check("card", NOTE, problem.sentence, problem.fix) for problem in hardware.card_problems]


def check_shm(hardware: Hardware) -> Check:
    """Shared memory, which Docker gives little of."""
    if hardware.shm_gib is None or hardware.shm_gib >= _ENOUGH_SHM_GIB:
        return Check("shm", OK, _("/dev/shm is large enough."))  # noqa: S108
    return Check(
        "shm",
        PROBLEM if _uses_card(hardware) else NOTE,
        _("/dev/shm has only {mib:.0f} MiB: serving with vLLM or on several GPUs would fail.").format(  # noqa: S108
            mib=hardware.shm_gib * 1024
        ),
        _("Start the container with: docker run --shm-size 8g …")
        if hardware.container
        else "sudo mount -o remount,size=8G /dev/shm",
    )


def _uses_card(hardware: Hardware) -> bool:
    return any(card.used_here for card in hardware.accelerators)


def check_disk(workspace: Path, hardware: Hardware) -> Check:
    """Room for a model and what is made of it."""
    wanted = _ENOUGH_DISK_GIB if _uses_card(hardware) else _ENOUGH_DISK_CPU_GIB
    sentence = _("{free:.0f} GiB are free for {folder}.").format(free=hardware.disk_free_gib, folder=workspace)
    if hardware.disk_free_gib >= wanted:
        return Check("disk", OK, sentence)
    return Check(
        "disk",
        PROBLEM if hardware.disk_free_gib < _LEAST_DISK_GIB else NOTE,
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
            "workspace", PROBLEM, _("{folder} can't be written: {reason}.").format(folder=place, reason=reason), fix
        )
    return Check("workspace", OK, _("The workspace {folder} can be written.").format(folder=workspace))


def check_mount(workspace: Path, container: bool) -> Check:
    """In a container, whether the workspace outlives it."""
    if not container:
        return Check("volume", OK, _("The workspace is on this machine's own disk."))
    if any(os.path.ismount(place) for place in (workspace, *workspace.parents) if place != place.parent):
        return Check("volume", OK, _("The workspace {folder} is on a volume.").format(folder=workspace))
    return Check(
        "volume",
        NOTE,
        _("{folder} is inside the container: everything in it goes when the container is removed.").format(
            folder=workspace
        ),
        _("Start it with a volume: docker run -v $PWD/appliance-data:{folder} …").format(folder=workspace),
    )


def check_training() -> Check:
    """Whether the training environment is installed."""
    python = settings.python_of("train")
    if python.exists():
        return Check("training", OK, _("The training environment is installed."))
    return Check(
        "training",
        PROBLEM,
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
                NOTE,
                _("Port {port} is in use: by a server of ours (see appliance jobs list) or another program.").format(
                    port=port
                ),
                _("Serve on another one: appliance serve MODEL --port {port}").format(port=port + 1),
            )
    return Check("port", OK, _("Port {port} is free.").format(port=port))


def check_terminal(encoding: str | None) -> Check:
    """Whether Chinese and lines can be shown."""
    if (encoding or "").lower().replace("-", "") in ("utf8", "utf8sig"):
        return Check("terminal", OK, _("The terminal shows UTF-8."))
    return Check(
        "terminal",
        NOTE,
        _("The terminal's encoding is {encoding}, not UTF-8: Chinese text would be garbled.").format(
            encoding=encoding or "?"
        ),
        "export LANG=C.UTF-8",
    )


def check_network(answers: list[network.Answer]) -> list[Check]:
    """Whether the hubs answer and which one faster; and, where one does, whether this machine's clock is right."""
    reached = sorted((answer for answer in answers if answer.seconds is not None), key=lambda one: one.seconds or 0)
    silent = [answer for answer in answers if answer.seconds is None]
    said = [_("{hub} answers in {n:.0f} ms").format(hub=one.title, n=1000 * (one.seconds or 0)) for one in reached] + [
        _("{hub} does not answer ({why})").format(hub=one.title, why=one.why) for one in silent
    ]
    sentence = _("{first}; {second}.").format(first=said[0], second=said[1])
    if len(reached) == 2:
        sentence += " " + _("{hub} is the faster one.").format(hub=reached[0].title)
    if not silent:
        hubs = Check("hub", OK, sentence)
    elif reached:
        hubs = Check(
            "hub",
            NOTE,
            sentence,
            _("Downloads take the one that answers; to be sure: appliance download NAME --source {hub}").format(
                hub=reached[0].hub
            ),
        )
    else:
        hubs = Check("hub", NOTE, sentence, _fix_of_network())
    # The smallest: a cache on the way may have kept an old answer, never a future one.
    ahead = min((one.clock for one in answers if one.clock is not None), key=abs, default=None)
    if ahead is None:
        return [hubs]
    if abs(ahead) <= _CLOCK_SECONDS:
        return [hubs, Check("clock", OK, _("The clock is right."))]
    text = _("The clock is {minutes:.0f} minutes fast") if ahead > 0 else _("The clock is {minutes:.0f} minutes slow")
    if sys.platform == "darwin":
        fix = "sudo sntp -sS time.apple.com"
    elif in_container():
        fix = _("On the host: {command}").format(command="sudo timedatectl set-ntp true")
    else:
        fix = "sudo timedatectl set-ntp true"
    wrong = _("{how}: hubs refuse such connections, and times in the logs are wrong.")
    return [hubs, Check("clock", NOTE, wrong.format(how=text.format(minutes=abs(ahead) / 60)), fix)]


def _fix_of_network() -> str:
    variables = _("export HTTPS_PROXY=http://HOST:PORT (behind a proxy), export HF_ENDPOINT=https://MIRROR (a mirror)")
    if in_container():
        variables = "docker run -e HTTPS_PROXY=http://HOST:PORT -e HF_ENDPOINT=https://MIRROR …"
    return _("{variables}; without any network, bring a model's folder here: appliance download FOLDER").format(
        variables=variables
    )
