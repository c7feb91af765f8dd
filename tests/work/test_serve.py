"""Serve jobs: what is left of them when their worker is killed or stopped. Nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from workers import ended, until

from appliance import files
from appliance.engines import ports
from appliance.errors import ApplianceError
from appliance.jobs import control, folder, leftovers, prepare, process
from appliance.jobs.folder import Job, State, serving
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
    psutil.wait_procs(members, timeout=60)
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


def phases(job: Job, engine: psutil.Process) -> list[str]:
    """What serving.json says from now until it says ready again, with another engine."""
    seen: list[str] = []

    def again(_events: list[dict[str, object]]) -> bool:
        at = serving(job)
        assert (at["address"] is None) == (at["phase"] != "ready")
        if not seen or seen[-1] != at["phase"]:
            seen.append(str(at["phase"]))
        return seen[-1] == "ready" and (len(seen) > 1 or not engine.is_running())

    until(job, again)
    return seen


def engine_of(job: Job, module: str = "appliance.engines.transformers_server") -> psutil.Process:
    """The process of this job that runs a module."""
    return next(member for member in group(job) if module in member.cmdline())


def page_of(job: Job) -> psutil.Process:
    return engine_of(job, "appliance.page")


def page_status(job: Job, path: str) -> int:
    try:
        with urllib.request.urlopen(f"{serving(job)['page']}{path}", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_killed_engine_is_started_again_and_never_called_ready_meanwhile(home: Path, shelf: Path) -> None:
    job = serve(shelf, 8300, page=True)
    until(job, ready)
    address = serving(job)["address"]
    # The chat page stands beside it: the sign-in and nothing more; killed, it is started again at the same place.
    where, first = serving(job)["page"], page_of(job)
    assert (page_status(job, ""), page_status(job, "config")) == (200, 401)
    key = Path(serving(job)["key_file"]).read_text().strip()
    assert key not in " ".join(first.cmdline()) + json.dumps(first.environ())
    first.kill()
    until(job, lambda _events: serving(job)["page"] is None)
    until(job, lambda _events: serving(job)["page"] == where)
    assert page_status(job, "config") == 401 and serving(job)["address"] == address

    engine = engine_of(job)
    engine.kill()
    psutil.wait_procs([engine], timeout=60)
    assert phases(job, engine)[-2:] == ["starting", "ready"]
    assert serving(job)["address"] == address and ask(job)["choices"]
    assert serving(job)["page"] == where and page_status(job, "config") == 401
    told = [event["text"] for event in follow_now(job) if event["kind"] == "warning"]
    assert len(told) == 1 and "1" in told[0]
    assert control.stop(job).state == "stopped"
    assert (serving(job)["phase"], serving(job)["address"], serving(job)["page"]) == ("stopped", None, None)
    assert process.group_members(job.written_state().pid) == []
    assert not ports.taken("127.0.0.1", int(where.split(":")[2].strip("/")))
    assert key not in (job.folder / "page.log").read_text() + (job.folder / "page.json").read_text()
    assert not ports.taken("127.0.0.1", 8300) or address != "http://127.0.0.1:8300/v1"


def follow_now(job: Job) -> list[dict[str, object]]:
    return folder.events(job)[0]


@pytest.mark.slow
def test_an_engine_that_hangs_is_not_called_ready(home: Path, shelf: Path) -> None:
    job = serve(shelf, 8310)
    until(job, ready)
    engine = engine_of(job)
    engine.suspend()
    until(job, lambda _events: serving(job)["phase"] == "silent")
    assert serving(job)["address"] is None
    engine.resume()
    until(job, lambda _events: serving(job)["phase"] == "ready")
    assert ask(job)["choices"]
    control.stop(job)


@pytest.mark.slow
def test_after_five_restarts_it_is_a_failure_with_a_reason(home: Path, shelf: Path) -> None:
    draft = prepare.serve(str(shelf / "base-bfloat16"), name="tiny", port=8320)
    draft.spec["pause"] = 0.1
    job = control.submit(draft)
    for _time in range(6):
        until(job, lambda _events: serving(job)["phase"] == "ready")
        engine = engine_of(job)
        engine.kill()
        psutil.wait_procs([engine], timeout=60)
    state = ended(job)
    assert state.state == "failed" and state.error and "6" in state.error["what"] and job.id in state.error["next"]
    assert job.as_dict()["phase"] == "failed"


def test_what_a_killed_server_left_is_named_and_ended(home: Path, shelf: Path) -> None:
    """As vLLM's workers would be: not children of ours any more, in no group that we know."""
    draft = prepare.serve(str(shelf / "base-bfloat16"), name="tiny", port=8330)
    jobs = []
    for _each in range(2):
        orphan = subprocess.Popen(["sleep", "300"], start_new_session=True)
        made = home / "jobs" / f"20200101-00000{len(jobs)}-serve-x"
        made.mkdir(parents=True)
        (made / "job.json").write_text(json.dumps({"id": made.name, "kind": "serve", "spec": {}}))
        job = Job(made)
        job.write_state(State("running", pid=2**22 - 1, start_mark="ticks:1@gone"))
        leftovers.remember(job, [orphan.pid])
        (left,) = leftovers.find(job)
        assert str(orphan.pid) in str(left) and "sleep" in str(left)
        jobs.append((job, orphan))
    first, second = jobs
    control.stop(first[0])
    assert first[1].wait(60) == -signal.SIGKILL and leftovers.find(first[0]) == []
    job = control.submit(draft)
    until(job, lambda events: any(event["kind"] == "note" and str(second[1].pid) in event["text"] for event in events))
    assert second[1].wait(60) == -signal.SIGKILL
    control.stop(job)
    # A number that was given to another process meanwhile is not touched.
    files.write_json(second[0].folder / "processes.json", [{"pid": os.getpid(), "mark": "ticks:1@gone"}])
    assert leftovers.find(second[0]) == []


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


def test_a_page_that_is_not_installed_is_told_before_anything_starts(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path))
    assert not prepare.has_page()
    with pytest.raises(ApplianceError, match="not installed") as caught:
        serve(shelf, 8000, page=True)
    assert "install.sh page" in caught.value.next_step


def test_a_port_of_another_machine_and_no_key_for_everyone(home: Path, shelf: Path) -> None:
    with pytest.raises(ApplianceError, match="without a key"):
        serve(shelf, 8000, host="0.0.0.0", no_key=True)
    job = serve(shelf, 8000, host="192.0.2.1")
    error = ended(job).error
    assert error and "192.0.2.1" in error["what"] and error["next"]
