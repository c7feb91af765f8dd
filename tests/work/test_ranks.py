"""A fine-tune in two processes (gloo): the curve of one, one adapter, stopped and killed as a whole, resumed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
from workers import adapter_hash, done, ended, gone, saved, until

from appliance import files
from appliance.jobs import control, prepare, process
from appliance.jobs.folder import Job
from appliance.work import checkpoints, zero


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


# They are trained with padding, and so in another order than where nothing is padded.
PADDED = ("fsdp", "zero3")


def start(
    base: Path, rows: Path, gpus: int, sharding: str = "none", steps: int = 12, padded: bool = False, **spec: Any
) -> Job:
    """A step of eight rows, however many processes share them."""
    draft = prepare.finetune(str(base), str(rows), wish={"steps": steps, "batch": 2})
    assert draft.plan
    draft.plan.update(gpus=gpus, sharding=sharding, accumulation=4 // gpus)
    if padded:
        draft.plan["padding_free"] = False
    draft.spec.update({"save_steps": 4, **spec})
    return control.submit(draft)


def losses(job: Job) -> list[float]:
    events = [json.loads(line) for line in (job.folder / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["kind"] == "metric"]


def same(job: Job, result: dict[str, Any], other: dict[str, Any]) -> None:
    """As good as the other job's result, and nothing left behind."""
    # A model that is shared out is not asked before and after.
    asked = set() if job.spec["plan"]["sharding"] in PADDED else {"trained-answers.json"}
    kept = set(other["files"]) - {"trained-answers.json"} | asked
    assert set(result["files"]) == kept and result["steps"] == other["steps"]
    assert {"torch", "transformers", "peft", "trl"} <= set(result["versions"])
    sizes = {Path(one["adapter"], "adapter_model.safetensors").stat().st_size for one in (result, other)}
    assert len(sizes) == 1
    assert not (job.folder / ".ranks").exists() and not (job.folder / "checkpoints").exists()
    gone(job.state().pid or 0)


def test_two_processes_give_the_curve_of_one(home: Path, shelf: Path, rows: Path) -> None:
    alone, together = start(shelf / "base-float32", rows, 1), start(shelf / "base-float32", rows, 2, "ddp")
    one, two = done(alone), done(together)
    assert len(losses(alone)) == 12
    assert losses(together) == pytest.approx(losses(alone), abs=1e-3)
    same(together, two, one)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["fsdp", "zero2", "zero3"])
def test_a_model_shared_between_two_processes_gives_the_same_curve(
    home: Path, shelf: Path, rows: Path, sharding: str
) -> None:
    alone = start(shelf / "base-float32", rows, 1, padded=sharding in PADDED)
    together = start(shelf / "base-float32", rows, 2, sharding)
    one, two = done(alone), done(together)
    assert losses(together) == pytest.approx(losses(alone), abs=1e-3)
    same(together, two, one)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp", "zero2", "zero3"])
def test_whatever_ends_one_of_them_ends_all_and_the_adapter_does_not_know(
    home: Path, shelf: Path, rows: Path, sharding: str
) -> None:
    """One process killed, then the worker killed, then a stop: after each it goes on, to the same bits."""
    more = {"steps": 60, "dropout": 0.1}
    undisturbed = adapter_hash(start(shelf / "base-float32", rows, 2, sharding, **more))
    job = start(shelf / "base-float32", rows, 2, sharding, **more)
    until(job, saved(job, 8))
    leader = job.state().pid
    assert leader
    os.kill(next(pid for pid in members(leader) if "RANK=1" in environment(pid)), signal.SIGKILL)
    state = ended(job)
    assert state.state == "failed" and state.error
    assert "process 1" in state.error["what"] and "resume" in state.error["next"]
    gone(leader)
    control.resume(job)
    until(job, saved(job, 24))
    leader = job.state().pid
    assert leader
    os.kill(leader, signal.SIGKILL)
    gone(leader)  # the kernel ends its processes
    assert ended(job).state == "failed"
    control.resume(job)
    until(job, saved(job, 32))
    assert control.stop(job).state == "stopped"
    last = checkpoints.latest_whole(job.folder / "checkpoints")
    assert last and last[0] >= 32
    assert {f"rng_state_{rank}.pth" for rank in range(2)} <= {path.name for path in last[1].iterdir()}
    control.resume(job)
    assert adapter_hash(job) == undisturbed
    assert job.result and job.result["steps"] == 60


@pytest.mark.slow
def test_what_one_of_them_says_of_its_end_is_told(home: Path, shelf: Path, rows: Path) -> None:
    job = start(shelf / "base-float32", rows, 2, "ddp", steps=60)
    control.stop(job, patience=0)
    spec = files.read_json(job.folder / "job.json")
    spec["plan"]["learning_rate"] = 1e30
    files.write_json(job.folder / "job.json", spec)
    control.resume(job)
    state = ended(job)
    assert state.state == "failed" and state.error and "diverged" in state.error["what"]
    gone(state.pid or 0)


def members(leader: int) -> list[int]:
    return [pid for pid in process.group_members(leader) if pid != leader]


def environment(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"))


def test_deepspeed_is_set_up_from_the_plan() -> None:
    plan = {"micro_batch": 2, "accumulation": 4, "gpus": 8, "dtype": "bfloat16", "device": "cuda", "sharding": "zero3"}
    made = zero.config(plan)
    assert made["train_batch_size"] == 64 and made["bf16"]["enabled"] and not made["fp16"]["enabled"]
    assert made["zero_optimization"]["stage"] == 3 and "auto" not in json.dumps(made)
    assert zero.stage({"sharding": "fsdp"}) == zero.stage({}) == 0
