"""Containers of the image under test, driven through docker's or podman's command line."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

import pexpect

IMAGE = os.environ.get("APPLIANCE_IMAGE", "")
ENGINE = shlex.split(os.environ.get("APPLIANCE_ENGINE", "docker"))

HARDENED = (
    *("--network", "none", "--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
)
# Containers and the volume are named after this, so that whoever started the tests can remove what a kill left.
RUN = os.environ.get("APPLIANCE_IMAGE_RUN") or f"appliance-test-{os.getpid()}"
_numbers = itertools.count(1)


def engine(*words: str, timeout: float = 180, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """One docker or podman command; what it printed and its exit code."""
    return subprocess.run([*ENGINE, *words], input=stdin or "", capture_output=True, text=True, timeout=timeout)


def well(done: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must have succeeded."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@dataclass
class Box:
    """One hardened container, not started yet. `volume` becomes /data. It stays after its end, so that its exit code
    can be asked; the fixture removes it."""

    volume: str | None = None
    flags: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"{RUN}-{next(_numbers)}")

    def words(self, how: tuple[str, ...], command: tuple[str, ...]) -> list[str]:
        data = ("-v", f"{self.volume}:/data") if self.volume else ()
        return ["run", *how, "--name", self.name, *HARDENED, *data, *self.flags, IMAGE, *command]

    def run(self, *command: str, timeout: float = 180, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run to the end, without a terminal."""
        return engine(*self.words(("-i",) if stdin else (), command), timeout=timeout, stdin=stdin)

    def start(self, *command: str) -> None:
        """Run in the background."""
        well(engine(*self.words(("-d",), command)))

    def type(self, *command: str) -> pexpect.spawn:
        """Run in a terminal of 80×24."""
        return terminal(*self.words(("-it",), command))

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A second process inside."""
        return engine("exec", self.name, *command)

    def answer(self, *command: str) -> dict[str, Any]:
        """What an `appliance` command inside answers with --json."""
        return dict(json.loads(well(self.execute("appliance", *command, "--json"))))

    def wait_for(self, reached: Any, seconds: float = 180) -> None:
        """Until `reached()` is true of the running container."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, engine("logs", self.name).stdout[-3000:]
            time.sleep(0.2)

    def stop(self) -> int:
        """SIGTERM, and SIGKILL ten seconds later, as `docker stop` does; the exit code, 137 if it came to that."""
        well(engine("stop", "-t", "10", self.name))
        return int(well(engine("inspect", "--format", "{{.State.ExitCode}}", self.name)))


def terminal(*words: str) -> pexpect.spawn:
    """A docker or podman command in a real terminal of 80×24."""
    return pexpect.spawn(ENGINE[0], [*ENGINE[1:], *words], dimensions=(24, 80), encoding="utf-8", timeout=120)
