"""Serve: start an engine with the guard inside, say when it answers, watch it, end it clean.

Runs in the front's environment; the engine runs in its own. `serving.json` says where it answers, from which phase.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from appliance import engines, files, settings
from appliance.engines import keys, ports
from appliance.errors import ApplianceError, Stopped
from appliance.jobs import process
from appliance.locale import _
from appliance.work.context import Context

# How long an engine may take from start to its first answer. Large models load for minutes; vLLM compiles as well.
_START_SECONDS = 1800.0
_STOP_SECONDS = 5.0
_LOG_TAIL_BYTES = 64 * 1024


def run(context: Context) -> dict[str, Any]:
    """Spec: model (folder), name, host, port, engine, options, key_file (or null). Ends only when stopped or failed."""
    spec = context.spec
    engine = engines.by_name(spec["engine"])
    host = spec["host"]
    if spec["key_file"]:
        keys.ensure_key_file(Path(spec["key_file"]))
    elif not ports.is_loopback(host):
        raise ApplianceError(
            _("Serving on {host} without a key is refused.").format(host=host),
            _("Anyone who reaches this machine could use the model."),
            _("Leave --no-key away, or serve on 127.0.0.1."),
        )
    guard = context.folder / "guard.json"
    own_name = engine.own_name(Path(spec["model"]), spec["name"])
    instance = secrets.token_hex(8)
    names = {spec["name"]: own_name}
    files.write_json(guard, {"key_file": spec["key_file"], "names": names, "instance": instance}, mode=0o600)
    serving = {
        "address": None,
        "key_file": spec["key_file"],
        "engine": engine.name,
        "model": spec["name"],
        "phase": "starting",
    }
    files.write_json(context.folder / "serving.json", serving)
    context.progress("starting", 0, 1)
    port, child = _start(engine, guard, context)
    try:
        while True:
            try:
                _wait_until_ready(child, engine, f"http://{_reachable(host)}:{port}/health", instance, context)
                break
            except ApplianceError:
                _end(child)
                # Someone else took the port between our look and the engine's: the next free one, then.
                if not ports.taken(host, port):
                    raise
                port, child = _start(engine, guard, context)
        address = f"http://{_reachable(host)}:{port}/v1"
        serving.update(address=address, phase="ready")
        files.write_json(context.folder / "serving.json", serving)
        context.progress("starting", 1, 1)
        context.event("ready", attempt=context.attempt, **serving)
        _watch(child, engine, context)
    finally:
        _end(child)
        files.write_json(context.folder / "serving.json", {**serving, "address": None, "phase": "ended"})
    raise Stopped


def _reachable(host: str) -> str:
    """An address to paste on this machine: a server on all addresses answers on loopback too."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _start(engine: engines.Engine, guard: Path, context: Context) -> tuple[int, subprocess.Popen[bytes]]:
    """The engine on the first free port from the wished one on. Raises ApplianceError when none is free."""
    spec = context.spec
    port = ports.free_port(spec["host"], spec["port"])
    while not context.take_port(port):
        port = ports.free_port(spec["host"], port + 1)
    if port != spec["port"]:
        context.note(_("Port {wanted} is taken: serving on {port}.").format(wanted=spec["port"], port=port))
    command = engine.command(settings.python_of(engine.environment), Path(spec["model"]), spec["host"], port, spec)
    variables = settings.child_environment()
    variables.update(engine.variables(context.spec))
    variables["APPLIANCE_GUARD"] = str(guard)
    variables["APPLIANCE_PARENT"] = str(os.getpid())
    tether = [str(settings.python_of("core")), "-P", "-m", "appliance.engines.tether", *command]
    with context.job.log.open("ab") as log:
        # In our own process group: whoever ends the group ends the engine too.
        return port, subprocess.Popen(
            tether, cwd=context.folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _wait_until_ready(
    child: subprocess.Popen[bytes], engine: engines.Engine, url: str, instance: str, context: Context
) -> None:
    """Until /health answers 200; tells the engine's phases meanwhile. Raises ApplianceError when it ends or hangs.

    instance  what our own guard names itself by: another server on that port is not ours, however well it answers
    """
    offset = context.job.log.stat().st_size
    deadline = time.monotonic() + _START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        offset = _tell_phases(engine, context, offset)
        if child.poll() is not None:
            raise _why_it_ended(engine, child, context)
        try:
            with opener.open(url, timeout=2) as answer:
                if answer.status == 200 and answer.headers.get("x-appliance-instance") == instance:
                    return
        except (OSError, urllib.error.URLError, ValueError):
            pass
        if time.monotonic() > deadline:
            raise ApplianceError(
                _("The engine did not answer within {n} minutes.").format(n=round(_START_SECONDS / 60)),
                _("Its last words are in {log}.").format(log=context.job.log),
                _("Try another engine (--engine transformers), or a smaller model."),
            )
        time.sleep(0.2)


def _tell_phases(engine: engines.Engine, context: Context, offset: int) -> int:
    with context.job.log.open("rb") as log:
        log.seek(offset)
        block = log.read()
    end = block.rfind(b"\n") + 1
    for line in block[:end].decode(errors="replace").splitlines():
        phase = engine.phase(line)
        if phase:
            context.event("phase", text=phase)
    return offset + end


def _why_it_ended(engine: engines.Engine, child: subprocess.Popen[bytes], context: Context) -> ApplianceError:
    with context.job.log.open("rb") as log:
        log.seek(max(0, context.job.log.stat().st_size - _LOG_TAIL_BYTES))
        tail = log.read().decode(errors="replace")
    return engine.failure(tail) or ApplianceError(
        _("The engine {name} ended by itself (code {code}).").format(name=engine.name, code=child.returncode),
        next((line.strip()[:300] for line in reversed(tail.splitlines()) if line.strip()), ""),
        _("See its last words: appliance jobs logs {id}").format(id=context.id),
    )


def _watch(child: subprocess.Popen[bytes], engine: engines.Engine, context: Context) -> None:
    """Wait for the engine; a request to stop raises Stopped out of the wait."""
    child.wait()
    context.check_stopped()
    raise _why_it_ended(engine, child, context)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask, wait, insist: when this returns the engine is gone and its port is free."""
    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        # What the engine itself had started (vLLM's workers hold the card's memory): we lead this group.
        for pid in process.group_members(os.getpgrp()):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    finally:
        signal.signal(signal.SIGTERM, previous)
