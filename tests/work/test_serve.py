"""Serve jobs: what is left of them when their worker is killed or stopped. Nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from workers import ended, gone, until

from appliance.engines import ports
from appliance.jobs import control, prepare, process
from appliance.jobs.folder import Job, serving
from appliance.jobs.watch import watch

SECRET = "secret-of-mine"


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def serve(shelf: Path, port: int, **options: object) -> Job:
    return control.submit(prepare.serve(str(shelf / "base-bfloat16"), name="tiny", port=port, **options))  # type: ignore[arg-type]


def ready(events: list[dict[str, object]]) -> bool:
    return any(event["kind"] == "ready" for event in events)


def ask(job: Job) -> dict[str, object]:
    at = serving(job)
    key = Path(at["key_file"]).read_text().strip()
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    request = urllib.request.Request(
        f"{at['address']}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def group(job: Job) -> list[psutil.Process]:
    pid = job.written_state().pid
    assert pid
    return [psutil.Process(member) for member in process.group_members(pid)]


def test_served_killed_served_again_and_stopped(
    home: Path, shelf: Path, taken: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    first = taken.getsockname()[1]
    # The next one is free to bind, but another job of this workspace has chosen it and is still loading.
    chosen = ports.free_port("127.0.0.1", first + 1)
    (home / "locks").mkdir(parents=True)
    with (home / "locks" / f"port-{chosen}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        job = serve(shelf, first)
        events = until(job, ready)
    at = serving(job)
    port = int(at["address"].split(":")[2].removesuffix("/v1"))
    assert port > chosen
    assert any(str(first) in event.get("text", "") and str(port) in event["text"] for event in events)
    answer = ask(job)
    assert answer["model"] == "tiny" and answer["choices"]

    members = group(job)
    assert len(members) >= 2  # the worker and the engine
    key = Path(at["key_file"]).read_text().strip()
    for member in members:
        told = " ".join(member.cmdline()) + json.dumps(member.environ())
        assert SECRET not in told and key not in told
    assert Path(at["key_file"]).stat().st_mode & 0o077 == 0

    os.kill(job.state().pid, signal.SIGKILL)
    assert ended(job).state == "failed"
    psutil.wait_procs(members, timeout=10)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)
    assert not ports.taken("127.0.0.1", port)
    assert job.as_dict()["address"] is None

    control.resume(job)
    # Not the first try's "ready", which still stands in the events.
    assert watch(job, until_ready=True).state == "running"
    assert ask(job)["choices"]
    port = int(serving(job)["address"].split(":")[2].removesuffix("/v1"))
    members = group(job)
    assert control.stop(job).state == "stopped"
    assert process.group_members(job.written_state().pid) == []
    assert not ports.taken("127.0.0.1", port)
    assert serving(job)["address"] is None
    for path in job.folder.rglob("*"):
        raw = path.read_bytes() if path.is_file() else b""
        assert key.encode() not in raw and SECRET.encode() not in raw, path


def test_stopped_while_it_loads(home: Path, shelf: Path, taken: socket.socket) -> None:
    job = serve(shelf, taken.getsockname()[1])
    until(job, lambda events: any(event.get("phase") == "starting" for event in events))
    assert control.stop(job).state == "stopped"
    assert process.group_members(job.written_state().pid) == []


def test_an_engine_that_ends_by_itself_is_a_failure_with_a_reason(home: Path, shelf: Path) -> None:
    job = serve(shelf, 8000)
    until(job, ready)
    worker = job.state().pid
    engine = next(member for member in group(job) if member.pid != worker)
    engine.kill()
    state = ended(job)
    assert state.state == "failed" and state.error and state.error["what"] and job.id in state.error["next"]
    gone(worker)


@pytest.mark.slow
def test_two_at_once_on_one_port(home: Path, shelf: Path) -> None:
    port = ports.free_port("127.0.0.1", 8800)
    jobs = [serve(shelf, port), serve(shelf, port)]
    for job in jobs:
        until(job, ready)
    assert len({serving(job)["address"] for job in jobs}) == 2
    for job in jobs:
        assert ask(job)["choices"]
        control.stop(job)


def test_a_port_of_another_machine_and_no_key_for_everyone(home: Path, shelf: Path) -> None:
    from appliance.errors import ApplianceError

    with pytest.raises(ApplianceError, match="without a key"):
        serve(shelf, 8000, host="0.0.0.0", no_key=True)
    job = serve(shelf, 8000, host="192.0.2.1")
    error = ended(job).error
    assert error and "192.0.2.1" in error["what"] and error["next"]
