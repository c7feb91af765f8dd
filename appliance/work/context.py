"""What a worker gets: its folder, its spec, and the ways to tell the front what it is doing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from appliance import files, settings
from appliance.errors import Stopped
from appliance.jobs import process
from appliance.jobs.control import cards_of, missing_environment
from appliance.jobs.folder import Job, State

_HEARTBEAT_SECONDS = 5.0
_PROGRESS_PER_SECOND = 5.0
# Held back from the start, given up at the end: a worker on a full disk can still write how it ended.
_RESERVE_BYTES = 64 * 1024


def _lock(handle: int, tries: int = 50) -> None:
    """A worker's own lock. A reader that looks whether it is held has it for a moment, so not the first try decides."""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            tries -= 1
            if tries <= 0:
                raise
            time.sleep(0.02)


class Context:
    """One running job, seen from its worker: `begin()`, then `with context`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.job = Job(folder)
        described = self.job.spec
        self.id: str = described["id"]
        self.kind: str = described["kind"]
        self.spec: dict[str, Any] = described["spec"]
        self.plan: dict[str, Any] = described.get("plan") or {}
        self.cards: list[str] = cards_of(described)
        self.stopping = threading.Event()
        self._saves_itself = False
        self.broken_off = False
        before = self.job.written_state()
        if before.state == "stopped":  # stopped by someone who saw it queued, before this worker had begun
            self.stopping.set()
        self._state = State("queued", attempt=before.attempt)
        self._write_lock = threading.Lock()
        self._phase: tuple[str, float, float] | None = None  # name, started, done at the start
        self._last_progress = 0.0
        self._held: list[int] = []
        self._torn = False
        self._ended = threading.Event()

    @property
    def attempt(self) -> int:
        """1 at first, one more with every resume."""
        return self._state.attempt

    # --- what is told to the front -------------------------------------------------------------------------------

    def event(self, kind: str, **values: Any) -> None:
        """Append one event. One write of one line, so that a reader never sees two lines mixed."""
        line = json.dumps({"t": round(time.time(), 3), "kind": kind, **values}, ensure_ascii=False) + "\n"
        # A disk that fills up takes a part of a line: the next one then closes it off.
        raw = (b"\n" if self._torn else b"") + line.encode()
        try:
            self._torn = os.write(self._events, raw) < len(raw)
        except OSError:  # a full disk must not end the work because of a line of progress
            return

    def progress(self, phase: str, done: float, total: float, unit: str = "", **extra: Any) -> None:
        """How far a phase is, in `unit`s. Adds left_s (seconds) and, unless given, speed (units per second).

        At most 5 a second are written.
        """
        now = time.monotonic()
        if self._phase is None or self._phase[0] != phase:
            self._phase = (phase, now, done)
            self._last_progress = 0.0
        if done < total and now - self._last_progress < 1 / _PROGRESS_PER_SECOND:
            return
        self._last_progress = now
        _name, began, first = self._phase
        speed = extra.pop("speed", (done - first) / (now - began) if now > began else 0.0)
        left = round((total - done) / speed, 1) if speed > 0 else None
        values = {"phase": phase, "done": done, "total": total, "unit": unit, "speed": round(speed, 4), "left_s": left}
        self.event("progress", **values, **extra)

    def metric(self, **values: Any) -> None:
        """Measured values (step, loss, learning_rate …)."""
        self.event("metric", **values)

    def note(self, text: str) -> None:
        """A translated sentence that a person should read."""
        self.event("note", text=text)

    def warn(self, text: str) -> None:
        """A translated sentence about something that may need action."""
        self.event("warning", text=text)

    # --- being stopped -------------------------------------------------------------------------------------------

    def check_stopped(self) -> None:
        """Raises Stopped once the job was asked to stop."""
        if self.stopping.is_set():
            raise Stopped

    @contextmanager
    def saves_itself(self) -> Iterator[None]:
        """Inside, a request to stop only sets `stopping`: the work looks at it and saves first."""
        self._saves_itself = True
        try:
            yield
        finally:
            self._saves_itself = False
        self.check_stopped()

    def _on_signal(self, _number: int, _frame: Any) -> None:
        again = self.stopping.is_set()
        self.stopping.set()
        # Once is enough: a second Stopped would break off what the first one is cleaning up.
        if not again and not self._saves_itself:
            # A library may make another error of it, and hide that it did (transformers does while it is imported).
            self.broken_off = True
            raise Stopped

    # --- life ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take the job: its lock, its events, its state. Raises BlockingIOError when another worker has it."""
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _lock(self._lock)
        self._events = os.open(self.folder / "events.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._events).st_size
        if size and os.pread(self._events, 1, size - 1) != b"\n":  # a line torn by a kill: close it off
            os.write(self._events, b"\n")
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        (self.folder / ".reserve").write_bytes(b"\0" * _RESERVE_BYTES)
        self._state.pid = os.getpid()
        self._state.start_mark = process.start_mark(os.getpid())
        self.set_state("queued")
        threading.Thread(target=self._beat, daemon=True).start()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()

    def set_state(self, state: str, **values: Any) -> None:
        """Replace state.json."""
        with self._write_lock:
            self._state.state = state
            for name, value in values.items():
                setattr(self._state, name, value)
            self._state.heartbeat = time.time()
            self.job.write_state(self._state)

    def finish(self, state: str, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None) -> None:
        """Write how it ended: the result first, so that `done` always has one."""
        self._ended.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (self.folder / ".reserve").unlink(missing_ok=True)
        if result is not None:
            files.write_json(self.folder / "result.json", result)
        self.set_state(state, error=error, waiting_for=None)

    def _beat(self) -> None:
        while not self._ended.wait(_HEARTBEAT_SECONDS):
            with self._write_lock:
                if self._ended.is_set():
                    return
                self._state.heartbeat = time.time()
                try:
                    self.job.write_state(self._state, durable=False)
                except OSError:  # a full disk: the next beat may find room
                    continue

    def continue_in(self, environment: str) -> NoReturn:
        """Start this worker's work again inside another locked environment: same process, same job. Does not return."""
        python = settings.python_of(environment)
        if not python.exists():
            raise missing_environment(environment)
        self._ended.set()
        with self._write_lock:  # no heartbeat is half written when the process image changes
            os.environ["APPLIANCE_ENVIRONMENT"] = environment
            os.execv(python, [str(python), "-P", "-m", "appliance.work", str(self.folder)])

    # --- one card, one job; one port, one job --------------------------------------------------------------------

    def take_accelerators(self) -> None:
        """Hold this job's cards until the process ends (the kernel lets go of a flock when its holder dies)."""
        for card in sorted(self.cards):  # in one order for all jobs, so that no two wait for each other
            handle = self._open_lock(f"accelerator-{card}")
            if not self._hold(handle):
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "?"
                self.set_state("queued", waiting_for=holder)
                self.event("waiting", accelerator=card, holder=holder)
                self._hold(handle, wait=True)

    def take_port(self, port: int) -> bool:
        """Hold a port's number until the process ends; False when another job of this workspace has it.

        An engine loads for a long time before it binds: without this, two of them choose the same free port.
        """
        handle = self._open_lock(f"port-{port}")
        taken = self._hold(handle)
        if not taken:
            os.close(handle)
        return taken

    def _open_lock(self, name: str) -> int:
        path = settings.locks_folder() / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def _hold(self, handle: int, wait: bool = False) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        os.ftruncate(handle, 0)
        os.pwrite(handle, self.id.encode(), 0)
        self._held.append(handle)
        return True
