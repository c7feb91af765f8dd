"""The job folder: the truth and the only state.

job.json       the spec as submitted, with every resolved choice and its reason; written once
state.json     queued | running | done | failed | stopped, with the worker's pid and start time; replaced atomically
events.jsonl   one JSON object a line: {"t", "kind": "progress|metric|note|warning", ...}; append only
log.txt        whatever the libraries printed
result.json    on success only: what was made, where, from what, measured
lock           held with flock by the worker: two workers never work on one job
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from appliance import files, settings
from appliance.errors import ApplianceError
from appliance.jobs import process
from appliance.locale import _, marked

STATES = ("queued", "running", "done", "failed", "stopped")
ACTIVE = ("queued", "running")
# A worker writes its pid within a fraction of a second of its start; a slow disk gets this much.
_START_GRACE_SECONDS = 30.0

STATE_WORDS = {
    "queued": marked("waiting"),
    "running": marked("running"),
    "done": marked("done"),
    "failed": marked("failed"),
    "stopped": marked("stopped"),
}


@dataclass
class State:
    """What state.json says. Times are seconds since the epoch."""

    state: str
    pid: int | None = None
    start_mark: str | None = None
    heartbeat: float | None = None
    attempt: int = 1
    waiting_for: str | None = None
    error: dict[str, Any] | None = None
    changed: float = field(default_factory=time.time)

    @property
    def active(self) -> bool:
        """Whether a worker is at it, or about to be."""
        return self.state in ACTIVE

    @property
    def word(self) -> str:
        """The state's name for a person."""
        return _(STATE_WORDS[self.state])


@dataclass(frozen=True)
class Job:
    """A job by its folder."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def described(self) -> dict[str, Any]:
        """job.json; empty when it can't be read, so that one broken job does not hide the others."""
        return _object(self.folder / "job.json")

    @property
    def spec(self) -> dict[str, Any]:
        """job.json. Raises ApplianceError when it can't be read."""
        value = self.described
        if not isinstance(value.get("kind"), str):
            raise ApplianceError(
                _("The job {id} has no readable job.json.").format(id=self.id),
                _("Its folder was changed by hand, or the disk is damaged."),
                _("Remove it: appliance jobs remove {id}").format(id=self.id),
            )
        return value

    @property
    def kind(self) -> str:
        return str(self.described.get("kind", "?"))

    @property
    def result(self) -> dict[str, Any] | None:
        """result.json; None while there is none."""
        return _object(self.folder / "result.json") or None

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def written_state(self) -> State:
        """state.json as it stands, whoever wrote it."""
        value = _object(self.folder / "state.json")
        if not _is_state(value):
            return State("failed", error=_lost().as_dict())
        return State(**{name: value[name] for name in State.__dataclass_fields__ if name in value})

    def state(self) -> State:
        """The job's state now: a worker that is gone without a word makes it failed."""
        state = self.written_state()
        if not state.active or process.alive(state.pid, state.start_mark):
            return state
        if state.pid is None and time.time() - state.changed < _START_GRACE_SECONDS:
            return state
        if self.locked():  # its worker lives where we don't see its pid: in another container on the same workspace
            return state
        # The worker may have ended between our two looks: what it wrote last counts.
        again = self.written_state()
        if not again.active:
            return again
        again.state, again.error = "failed", _lost().as_dict()
        return again

    def locked(self) -> bool:
        """Whether a worker holds the job's lock, wherever it runs."""
        try:
            handle = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def write_state(self, state: State, durable: bool = True) -> None:
        """Replace state.json."""
        state.changed = time.time()
        files.write_json(self.folder / "state.json", asdict(state), durable=durable)

    def as_dict(self) -> dict[str, Any]:
        """For --json: id, kind, state, folder, result, error; for serve also address, key_file, engine, model."""
        state = self.state()
        value = {
            "id": self.id,
            "kind": self.kind,
            "state": state.state,
            "folder": str(self.folder),
            "result": self.result,
            "created": self.described.get("created"),
            "error": state.error if state.state == "failed" else None,
            "waiting_for": state.waiting_for,
        }
        if self.kind == "serve":
            value.update(serving(self))
            if not state.active:  # a killed worker could not take its address back
                value.update(address=None, page=None, phase="stopped" if state.state == "stopped" else "failed")
        return value


def serving(job: Job) -> dict[str, Any]:
    """Where a serve job answers and how it is: address (ends in /v1), page, key_file, engine, model, adapters, phase …

    The address is None while it is not ready. new_key: the key was made for this start, and is shown once.
    """
    value = _object(job.folder / "serving.json")
    names = ("address", "key_file", "new_key", "engine", "model", "adapters", "log", "page", "phase")
    told = {name: value.get(name) for name in names}
    engine, worker = value.get("process"), job.written_state()
    # Killed a moment ago, and its worker has not said so yet? (A worker whose pid isn't seen is in another container,
    # and so is its engine.)
    known = engine if isinstance(engine, dict) and process.alive(worker.pid, worker.start_mark) else None
    if told["phase"] == "ready" and known and not process.alive(known.get("pid"), known.get("mark")):
        told.update(phase="starting", address=None, page=None)
    return told


def _object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is none."""
    try:
        value = files.read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_state(value: dict[str, Any]) -> bool:
    """Whether this is a state as a worker writes it."""
    error = value.get("error") or {}
    wanted: dict[str, Any] = {
        "pid": (int, NoneType),
        "start_mark": (str, NoneType),
        "heartbeat": (int, float, NoneType),
        "attempt": int,
        "waiting_for": (str, NoneType),
        "error": (dict, NoneType),
        "changed": (int, float),
    }
    return (
        value.get("state") in STATES
        and all(isinstance(value[name], kinds) for name, kinds in wanted.items() if name in value)
        and all(isinstance(error.get(name, ""), str) for name in ("what", "why", "next"))
    )


def _lost() -> ApplianceError:
    return ApplianceError(
        _("The job's process ended without a word."),
        _("It was killed from outside, the machine ran out of memory, or the power went."),
        _("Resume it: appliance jobs resume ID. It goes on from the last good state."),
    )


def all_jobs() -> list[Job]:
    """Every job of the workspace, newest first."""
    try:
        folders = sorted(settings.jobs_folder().iterdir(), key=lambda folder: folder.name, reverse=True)
    except OSError:
        return []
    return [Job(folder) for folder in folders if not folder.name.startswith(".") and (folder / "job.json").is_file()]


def find(name: str) -> Job:
    """The job whose id is, or uniquely starts with or ends in, `name`; `last` is the newest. Raises ApplianceError."""
    jobs = all_jobs()
    if name == "last" and jobs:
        return jobs[0]
    exact = [job for job in jobs if job.id == name]
    near = exact or [job for job in jobs if job.id.startswith(name) or job.id.endswith(name)]
    if len(near) == 1:
        return near[0]
    raise ApplianceError(
        _("There is no job {name}.").format(name=name)
        if not near
        else _("Several jobs match {name}.").format(name=name),
        "" if not near else ", ".join(job.id for job in near[:5]),
        _("See the jobs and their ids: appliance jobs list"),
    )


def events(job: Job, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events written since byte `offset`, and the offset to ask from next time. A torn last line waits."""
    try:
        with (job.folder / "events.jsonl").open("rb") as file:
            file.seek(offset)
            block = file.read()
    except OSError:
        return [], offset
    end = block.rfind(b"\n") + 1
    found = []
    for line in block[:end].splitlines():
        try:
            event = json.loads(line)
        except (
            ValueError,
            RecursionError,
        ):  # half a line from before a power cut, closed off by the next worker's newline
            continue
        if isinstance(event, dict):
            found.append(event)
    return found, offset + end


def follow(job: Job, interval: float = 0.2) -> Iterator[tuple[State, list[dict[str, Any]]]]:
    """The job's state and new events, again and again until it has ended; the last pair has the final state."""
    offset = 0
    while True:
        state = job.state()
        found, offset = events(job, offset)
        yield state, found
        if not state.active:
            return
        time.sleep(interval)
