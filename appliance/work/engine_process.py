"""One engine as processes: started, waited for, looked after, ended with everything that it had started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import psutil

from appliance import engines, settings
from appliance.errors import ApplianceError
from appliance.jobs import leftovers, process
from appliance.locale import _
from appliance.work.context import Context

# How long an engine may take from start to its first answer. Large models load for minutes; vLLM compiles as well.
_START_SECONDS = 1800.0
_STOP_SECONDS = 5.0
_GONE_SECONDS = 60.0
_LOG_TAIL_BYTES = 64 * 1024
_LOOK_SECONDS = 2.0
_HEALTH_TIMEOUT = 5.0
# An engine that computes a long question may be slow to say that it is well; one that hangs never does.
_SILENT_SECONDS = 120.0
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of what our descendants leave behind, so that it is always found (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class EngineEnded(Exception):
    """The engine is not there any more, or not well. `error` for a person; `log`: what this engine had printed."""

    def __init__(self, error: ApplianceError, log: str):
        super().__init__(error.what)
        self.error, self.log = error, log


class EngineProcess:
    """Started when made. In our own process group: whoever ends the group ends the engine too."""

    def __init__(
        self, engine: engines.Engine, context: Context, command: list[str], variables: dict[str, str], health: str
    ):
        self.engine, self.context, self.health = engine, context, health
        self.instance = variables["APPLIANCE_INSTANCE"]
        environment = {**settings.child_environment(), **variables, "APPLIANCE_PARENT": str(os.getpid())}
        tether = [str(settings.python_of("core")), "-P", "-m", "appliance.engines.tether", *command]
        self._from = context.job.log.stat().st_size if context.job.log.exists() else 0
        self._read_to = self._from
        with context.job.log.open("ab") as log:
            self.child = subprocess.Popen(
                tether, cwd=context.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        leftovers.remember(context.job, [self.child.pid])

    def wait_until_ready(self) -> None:
        """Until /health answers 200; tells the engine's phases meanwhile. Raises EngineEnded when it ends or hangs."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self._tell_phases()
            if self.child.poll() is not None:
                raise EngineEnded(self._why_it_ended(), self._log())
            if self.is_well():
                self._remember()
                return
            if time.monotonic() > deadline:
                minutes = round(_START_SECONDS / 60)
                error = ApplianceError(
                    _("The engine did not answer within {n} minutes.").format(n=minutes),
                    _("Its last words are in {log}.").format(log=self.context.job.log),
                    _("Try another engine (--engine transformers), or a smaller model."),
                )
                raise EngineEnded(error, self._log())
            time.sleep(0.2)

    def is_well(self) -> bool:
        """Whether /health answers, and as our own engine: another server on that port is not ours."""
        return answers_as(self.health, self.instance)

    def watch(self, tell: Any, also: Any) -> None:
        """Look after it until it ends: raises EngineEnded. `tell(well)` when it falls silent or comes back.

        `also()` is called at each look.
        """
        well, since = True, time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(_LOOK_SECONDS)
                raise EngineEnded(self._why_it_ended(), self._log())
            now_well = self.is_well()
            if now_well:
                since = time.monotonic()
            if now_well != well and self.child.poll() is None:
                well = now_well
                tell(well)
            also()
            if time.monotonic() - since > _SILENT_SECONDS:
                error = ApplianceError(
                    _("The engine stopped answering."),
                    _("It said nothing for {n} seconds.").format(n=round(_SILENT_SECONDS)),
                    _("See its last words: appliance jobs logs {id}").format(id=self.context.id),
                )
                raise EngineEnded(error, self._log())
            self._remember()

    def end(self) -> None:
        """Ask, wait, insist: when this returns the engine is gone, with its port and what it held of the card."""
        # A request to stop that comes now is kept for afterwards: what we are at is what it asks for.
        previous = signal.signal(signal.SIGTERM, lambda *_told: self.context.stopping.set())
        try:
            mine = self._processes()
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(_STOP_SECONDS)
            # What the engine itself had started (vLLM's workers hold the card's memory), wherever it stands by now.
            mine = list({one.pid: one for one in [*mine, *self._processes()]}.values())
            for one in mine:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self.child.wait()
            left = psutil.wait_procs([one for one in mine if one.pid != self.child.pid], timeout=_GONE_SECONDS)[1]
            for one in left:
                told = _("The process {pid} of the engine does not end; it may still hold memory.").format(pid=one.pid)
                self.context.warn(told)
            leftovers.remember(self.context.job, [one.pid for one in left])
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _processes(self) -> list[psutil.Process]:
        """Everything that we started, and all of our process group but ourselves."""
        me = psutil.Process()
        found = {one.pid: one for one in me.children(recursive=True)}
        for pid in process.group_members(os.getpgrp()):
            if pid != me.pid and pid not in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[pid] = psutil.Process(pid)
        return list(found.values())

    def _remember(self) -> None:
        pids = sorted(one.pid for one in self._processes())
        if pids != getattr(self, "_remembered", None):
            self._remembered = pids
            leftovers.remember(self.context.job, pids)

    def _tell_phases(self) -> None:
        with self.context.job.log.open("rb") as log:
            log.seek(self._read_to)
            block = log.read()
        end = block.rfind(b"\n") + 1
        for line in block[:end].decode(errors="replace").splitlines():
            if phase := self.engine.phase(line):
                self.context.event("phase", text=phase)
        self._read_to += end

    def _log(self) -> str:
        """What this engine printed: not what an earlier one did, whose failure it would be taken for."""
        with self.context.job.log.open("rb") as log:
            log.seek(max(self._from, self.context.job.log.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def _why_it_ended(self) -> ApplianceError:
        log, code = self._log(), self.child.returncode
        if known := self.engine.failure(log):
            return known
        words = next((line.strip()[:300] for line in reversed(log.splitlines()) if line.strip()), "")
        if code == -signal.SIGKILL:
            words = _("It was killed from outside, or the machine ran out of memory.")
        return ApplianceError(
            _("The engine {name} ended by itself (code {code}).").format(name=self.engine.name, code=code),
            words,
            _("See its last words: appliance jobs logs {id}").format(id=self.context.id),
        )


def answers_as(health: str, instance: str) -> bool:
    """Whether a server that we started answers there, and not another one that has got the port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(health, timeout=_HEALTH_TIMEOUT) as answer:
            return bool(answer.status == 200 and answer.headers.get("x-appliance-instance") == instance)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def health_address(host: str, port: int) -> str:
    """Where its supervisor asks."""
    return f"http://{reachable(host)}:{port}/health"


def reachable(host: str) -> str:
    """An address to paste on this machine: a server on all addresses answers on loopback too."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
