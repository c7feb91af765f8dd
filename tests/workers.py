"""Real jobs in front of a test: started, waited for by their events, killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.jobs import control, prepare, process
from appliance.jobs.folder import Job, State, follow
from appliance.work import checkpoints

PATIENCE = 180.0  # seconds; only a machine under heavy load comes near it


def finetune(base: Path, rows: Path, **spec: Any) -> Job:
    """300 steps: about four seconds of training, a checkpoint every 20 steps."""
    draft = prepare.finetune(str(base), str(rows), wish={"steps": 300, "batch": 2})
    draft.spec.update({"save_steps": 20, "dropout": 0.1, **spec})
    return control.submit(draft)


def until(job: Job, reached: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The job's events up to the moment at which `reached` holds; fails when it ends or hangs before."""
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + PATIENCE
    for state, found in follow(job, interval=0.02):
        seen += found
        if reached(seen):
            return seen
        assert state.active, (state, job.log.read_text()[-3000:])
        assert time.monotonic() < deadline, seen[-5:]
    raise AssertionError("unreachable")


def ended(job: Job) -> State:
    """The job's last state."""
    deadline = time.monotonic() + PATIENCE
    for _state, _found in follow(job, interval=0.05):
        assert time.monotonic() < deadline
    return job.state()


def gone(group: int) -> None:
    """Wait until nothing of a process group lives; a worker needs a moment to end after its last word."""
    deadline = time.monotonic() + PATIENCE
    while left := process.group_members(group):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def done(job: Job) -> dict[str, Any]:
    """The result of a job that must succeed."""
    state = ended(job)
    assert state.state == "done", (state.error, job.log.read_text()[-3000:])
    assert job.result
    return job.result


def trained(step: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether training has come to this step."""
    return lambda events: any(
        e["kind"] == "progress" and e["phase"] == "training" and e["done"] >= step for e in events
    )


def saved(job: Job, step: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a checkpoint of this step or a later one has its name."""
    return lambda _events: any(number >= step for number, _folder in checkpoints.numbered(job.folder / "checkpoints"))


def kill(job: Job) -> None:
    """SIGKILL to the worker alone, as the kernel's memory killer would do it."""
    pid = job.state().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    state = ended(job)
    assert state.state == "failed", state
    assert state.error and state.error["what"] and state.error["why"] and state.error["next"]


def adapter_hash(job: Job) -> str:
    """sha256 of the adapter's weights, as the worker measured and as they stand."""
    from appliance import files

    result = done(job)
    stands = files.sha256(Path(result["adapter"]) / "adapter_model.safetensors")
    assert stands == result["files"]["adapter_model.safetensors"]["sha256"]
    return stands
