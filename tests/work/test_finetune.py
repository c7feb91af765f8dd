"""Fine-tuning by real workers that are killed, stopped and starved of disk: the adapter must not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from held import held
from workers import PATIENCE, adapter_hash, done, ended, finetune, kill, saved, trained, until

from appliance.errors import UsageError
from appliance.jobs import control, prepare
from appliance.jobs.watch import summary
from appliance.work import checkpoints


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.fixture(scope="session")
def undisturbed(shelf: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The adapter of a run that nobody disturbs, with dropout: its random numbers must come back as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_HOME", str(tmp_path_factory.mktemp("undisturbed")))
        return adapter_hash(finetune(shelf / "base-float32", rows))


def test_killed_in_training_it_ends_with_the_same_adapter(
    home: Path, shelf: Path, rows: Path, undisturbed: str
) -> None:
    """Checkpoints by the clock, as where a step takes minutes."""
    job = held(150, lambda: finetune(shelf / "base-float32", rows, save_steps=10_000, save_seconds=0.2))
    until(job, saved(job, 40))
    until(job, trained(45))
    kill(job)
    assert not (job.folder / "adapter").exists() and job.result is None
    start = checkpoints.latest_whole(job.folder / "checkpoints")
    assert start and start[0] >= 40
    control.resume(job)
    until(job, lambda events: any(f"step {start[0]}" in event.get("text", "") for event in events))
    assert adapter_hash(job) == undisturbed
    assert job.state().attempt == 2 and job.result and job.result["steps"] == 300
    assert not (job.folder / "checkpoints").exists()


def test_stopped_in_training_it_saves_and_ends_with_the_same_adapter(
    home: Path, shelf: Path, rows: Path, undisturbed: str
) -> None:
    job = finetune(shelf / "base-float32", rows, save_steps=250)
    until(job, trained(30))
    assert control.stop(job, patience=PATIENCE).state == "stopped"
    # Its own checkpoint, at the step at which it was asked.
    last = checkpoints.latest_whole(job.folder / "checkpoints")
    assert last and 30 <= last[0] < 250 and last[0] % 250
    assert [path.name for path in (job.folder / "checkpoints").iterdir()] == [f"checkpoint-{last[0]}"]
    control.resume(job)
    assert adapter_hash(job) == undisturbed


@pytest.mark.slow
def test_killed_again_and_again(home: Path, shelf: Path, rows: Path, undisturbed: str) -> None:
    """Before the first checkpoint, in the middle, and when all steps are done but the adapter is not saved."""
    job = finetune(shelf / "base-float32", rows)
    until(job, lambda events: any(event.get("phase") == "loading" for event in events))
    kill(job)
    control.resume(job)
    until(job, trained(1))
    kill(job)
    for step in (60, 160):
        held(step + 5, lambda: control.resume(job))
        until(job, saved(job, step))
        kill(job)
    held("saving", lambda: control.resume(job))
    until(job, saved(job, 300))
    kill(job)
    assert not (job.folder / "adapter").exists()
    control.resume(job)
    assert adapter_hash(job) == undisturbed
    assert job.state().attempt == 6


def test_resumed_after_the_last_step_it_takes_no_step_more(home: Path, shelf: Path, rows: Path) -> None:
    """All steps done, in the middle of a pass, and then the adapter could not be saved."""
    hashes = []
    for in_the_way in (False, True):
        draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 7, "batch": 2})
        draft.spec.update(save_steps=7, dropout=0.1)
        job = control.submit(draft)
        if in_the_way:
            obstacle = job.folder / ".adapter.staging"
            obstacle.touch()
            assert ended(job).state == "failed"
            assert checkpoints.numbered(job.folder / "checkpoints")[-1][0] == 7
            assert not (job.folder / "adapter").exists()
            obstacle.unlink()
            control.resume(job)
        hashes.append(adapter_hash(job))
        assert job.result and job.result["steps"] == 7
    assert hashes[0] == hashes[1]


def test_a_worker_sees_no_credentials(home: Path, shelf: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "MODELSCOPE_API_TOKEN"):
        monkeypatch.setenv(name, "secret-of-mine")
    job = finetune(shelf / "base-float32", rows)
    until(job, trained(1))
    pid = job.state().pid
    for place in ("environ", "cmdline"):
        assert b"secret-of-mine" not in Path(f"/proc/{pid}/{place}").read_bytes()
    control.stop(job)
    for path in job.folder.rglob("*"):
        assert path.is_dir() or b"secret-of-mine" not in path.read_bytes(), path


def test_an_event_for_every_step_that_matters(home: Path, shelf: Path, rows: Path) -> None:
    """What the front draws from: progress to the end, a loss a step, no half lines, a state with a heartbeat."""
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 5})
    job = control.submit(draft)
    result = done(job)
    events = [json.loads(line) for line in (job.folder / "events.jsonl").read_text().splitlines()]
    training = [event for event in events if event["kind"] == "progress" and event["phase"] == "training"]
    assert training[-1]["done"] == training[-1]["total"] == 5
    assert [event["step"] for event in events if event["kind"] == "metric"] == [1, 2, 3, 4, 5]
    assert result["rows"] == 40 and result["learned_tokens"] > 0 and result["memory"]["measured_gib"] > 0
    rows_at_once, tokens = result["memory"]["largest_batch"]
    assert rows_at_once == 1 and job.spec["plan"]["padding_free"]  # end to end
    assert tokens >= 20 * job.spec["plan"]["micro_batch"]
    assert not (job.folder / ".reserve").exists()
    assert ended(job).heartbeat


def test_checkpoints_stay_where_they_are_asked_for(home: Path, shelf: Path, rows: Path) -> None:
    words = {"wish": {"steps": 8, "batch": 2}, "save_steps": 2}
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), **words, keep_checkpoints=3)
    assert "--keep-checkpoints 3" in draft.command
    job = control.submit(draft)
    done(job)
    kept = checkpoints.numbered(job.folder / "checkpoints")
    assert [step for step, _folder in kept] == [4, 6, 8] and all(checkpoints.is_whole(folder) for _step, folder in kept)
    with pytest.raises(UsageError, match="2 checkpoints"):
        prepare.finetune(str(shelf / "base-float32"), str(rows), keep_checkpoints=0)


def test_spec_of_a_removed_data_file(home: Path, shelf: Path, tmp_path: Path) -> None:
    """The job has its own copy of the rows."""
    mine = tiny.write_rows(tmp_path / "mine.jsonl", 8)
    draft = prepare.finetune(str(shelf / "base-float32"), str(mine), wish={"steps": 1})
    job = control.submit(draft)
    mine.unlink()
    assert done(job)["rows"] == 8


def test_a_training_that_diverges_ends_with_a_sentence(home: Path, shelf: Path, rows: Path) -> None:
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 60, "batch": 2})
    assert draft.plan
    draft.plan["learning_rate"] = 1e30
    draft.spec["save_steps"] = 1
    job = control.submit(draft)
    state = ended(job)
    assert state.state == "failed" and state.error
    assert "diverged at step 3" in state.error["what"] and "learning-rate" in state.error["next"]
    # The first step is still one of rate 0. What the second one has left was saved as well, and is worth nothing.
    ((step, kept),) = checkpoints.numbered(job.folder / "checkpoints")
    assert step == 1 and checkpoints.is_whole(kept) and str(kept) in state.error["next"]
    again = prepare.finetune(None, str(rows), adapter=str(kept), wish={"steps": 2, "batch": 2})
    assert done(control.submit(again))["loss_last"] < 6
    assert all("NaN" not in line for line in (job.folder / "events.jsonl").read_text().splitlines())
    summary(job)  # a loss that is no number is drawn without an accident
