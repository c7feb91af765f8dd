"""What a killed server may leave behind: the engine's processes, known by pid and start time, found and ended.

A server's worker keeps the list in `processes.json` of its job's folder while the engine runs. A worker that is killed
can't end its engine; the kernel ends the engine's first process then (engines/tether.py), but not what that one had
started, which may hold the card.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from appliance import files
from appliance.jobs import process
from appliance.jobs.folder import Job

_FILE = "processes.json"


@dataclass(frozen=True)
class Left:
    """A living process of an engine whose worker is gone. started: local time, ISO 8601."""

    pid: int
    mark: str
    started: str
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}, {self.started})"


def remember(job: Job, pids: Iterable[int]) -> None:
    """Keep the engine's processes; none: forget them."""
    known = []
    for pid in pids:
        if mark := process.start_mark(pid):
            known.append({"pid": pid, "mark": mark})
    if known:
        files.write_json(job.folder / _FILE, known, durable=False)
    else:
        (job.folder / _FILE).unlink(missing_ok=True)


def find(job: Job) -> list[Left]:
    """The remembered processes that still live."""
    import psutil

    try:
        known = [(int(one["pid"]), str(one["mark"])) for one in files.read_json(job.folder / _FILE)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found = []
    for pid, mark in known:
        if not process.alive(pid, mark):
            continue
        with contextlib.suppress(psutil.Error):
            seen = psutil.Process(pid)
            started = datetime.fromtimestamp(seen.create_time()).astimezone().isoformat(timespec="seconds")
            found.append(Left(pid, mark, started, seen.name()))
    return found


def end(job: Job, patience: float = 30.0) -> list[Left]:
    """End them, wait until they are gone (and so is what they held), and forget them. Returns what there was."""
    found = find(job)
    for left in found:
        if process.alive(left.pid, left.mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(left.pid, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while any(process.alive(left.pid, left.mark) for left in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not any(process.alive(left.pid, left.mark) for left in found):
        (job.folder / _FILE).unlink(missing_ok=True)
    return found
