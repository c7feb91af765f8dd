"""Every task by a real worker: the loss falls, the adapter loads with plain peft and prefers what it was taught."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
from held import held
from workers import adapter_hash, done, finetune, kill, saved, until

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.jobs import control, prepare, recipe
from appliance.jobs.folder import Job, State

PREFERS = Path(__file__).with_name("prefers.py")
VOWELS = Path(__file__).with_name("vowels.py")


def write_pairs(path: Path, count: int = 24) -> Path:
    rows = [{"prompt": f"{i}?", "chosen": "yes" + "!" * (i % 4), "rejected": "no"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_thumbs(path: Path, count: int = 24) -> Path:
    """Two thumbs up for one down."""
    rows = [{"prompt": f"{i}?", "completion": "yes" if i % 3 else "no", "label": bool(i % 3)} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prefers(shelf: Path, job: Job) -> dict[str, float]:
    """How much likelier (log-probability a token) `yes` is than `no`, or the reward's difference: before and after."""
    return peft(PREFERS, shelf, done(job)["adapter"])


def peft(script: Path, shelf: Path, adapter: str) -> dict[str, float]:
    """What the script measures of base and adapter, which plain peft loads: {before, after}."""
    told = subprocess.run(
        [settings.python_of("train"), script, shelf / "base-float32", adapter],
        env=settings.child_environment(),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout))


def submit(base: Path, data: Path, **words: Any) -> Job:
    wish = {"steps": 30, "batch": words.pop("batch", 4), "learning_rate": 5e-3}
    return control.submit(prepare.finetune(str(base) if base.name else None, str(data), wish=wish, **words))


@pytest.mark.usefixtures("spawn")
@pytest.mark.parametrize("task", ["dpo", "orpo", "simpo", "reward"])
def test_pairs_teach_a_preference(home: Path, shelf: Path, tmp_path: Path, task: str) -> None:
    job = submit(shelf / "base-float32", write_pairs(tmp_path / "pairs.jsonl"), task=task)
    result = done(job)
    assert result["task"] == task and result["rows"] == 24
    assert result["loss_last"] < 0.97 * result["loss_first"]
    measured = prefers(shelf, job)
    assert measured["after"] > measured["before"] + 0.2, measured
    if task == "reward":  # it has nothing to say: said at once, and not by a job
        with pytest.raises(ApplianceError, match="judges answers"):
            prepare.merge(job.id)
        with pytest.raises(ApplianceError, match="judges answers"):
            prepare.serve(str(shelf / "base-float32"), adapters=[job.id])


@pytest.mark.usefixtures("spawn")
@pytest.mark.parametrize("batch", [4, 1])
def test_thumbs_teach_a_preference(home: Path, shelf: Path, tmp_path: Path, batch: int) -> None:
    """One row at a time as well, where KTO's usual loss has nothing to compare with."""
    job = submit(shelf / "base-float32", write_thumbs(tmp_path / "thumbs.jsonl"), batch=batch)
    result = done(job)
    assert result["task"] == "kto"  # found by itself
    assert result["loss_last"] < 0.97 * result["loss_first"]
    measured = prefers(shelf, job)
    assert measured["after"] > measured["before"] + 0.2, measured


def test_preferences_on_top_of_an_earlier_adapter_as_two_jobs_of_a_recipe(
    home: Path, shelf: Path, tmp_path: Path
) -> None:
    tiny.write_rows(tmp_path / "rows.jsonl")
    write_pairs(tmp_path / "pairs.jsonl")
    lines = (
        "jobs:",
        f"  - finetune: {{model: {shelf / 'base-float32'}, data: rows.jsonl, steps: 6}}",
        "  - finetune: {adapter: last, data: pairs.jsonl, steps: 10, learning_rate: 0.005}",
        "  - merge: {}",
    )
    (tmp_path / "recipe.yaml").write_text("\n".join(lines), encoding="utf-8")

    def watch(job: Job, _number: int, _last: bool) -> State:
        done(job)
        return job.state()

    first, second, merged = recipe.run(recipe.read(tmp_path / "recipe.yaml"), watch)
    assert first.result and second.result and merged.result
    assert second.result["task"] == "dpo"
    # Only the trained adapter, without the frozen copy of the earlier one that it was held against.
    assert not [path for path in Path(second.result["adapter"]).iterdir() if path.is_dir()]
    assert second.result["adapter"] in str(merged.described["spec"])
    assert prefers(shelf, second)["after"] > prefers(shelf, first)["after"]


def test_killed_on_top_of_an_earlier_adapter_it_ends_with_the_same_one(home: Path, shelf: Path, tmp_path: Path) -> None:
    tiny.write_rows(tmp_path / "rows.jsonl")
    earlier = done(finetune(shelf / "base-float32", tmp_path / "rows.jsonl", save_steps=300))["adapter"]
    hashes = []
    for killed in (False, True):
        draft = prepare.finetune(None, str(write_pairs(tmp_path / "p.jsonl")), adapter=earlier, wish={"steps": 60})
        draft.spec.update(save_steps=10, dropout=0.1)
        begin = partial(control.submit, draft)
        job = held(22, begin) if killed else begin()
        if killed:
            until(job, saved(job, 20))
            kill(job)
            control.resume(job)
        hashes.append(adapter_hash(job))
    assert hashes[0] == hashes[1]


def test_what_can_not_be_is_said(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(UsageError, match="There is no task ppo") as unknown:
        prepare.finetune(str(shelf / "base-float32"), str(rows), task="ppo")
    assert "rloo" in unknown.value.why
    with pytest.raises(ApplianceError):  # questions and answers are no pairs
        prepare.finetune(str(shelf / "base-float32"), str(rows), task="simpo")
    with pytest.raises(UsageError, match="--model is missing"):
        prepare.finetune(None, str(rows))


@pytest.mark.usefixtures("spawn")
@pytest.mark.parametrize("task", ["grpo", "rloo"])
def test_what_is_rewarded_is_said_more_often(home: Path, shelf: Path, tmp_path: Path, task: str) -> None:
    """A vowel is rewarded, by every kind of reward together; the untaught model says any sign as often as any other."""
    (tmp_path / "vowel.json").write_text(json.dumps({"enum": list("aeiou")}))
    rows = tiny.write_rows(tmp_path / "rows.jsonl", 24)
    wish = {"steps": 25, "batch": 8, "length": 64, "learning_rate": 1e-2}
    rewards = ["2*regex:[aeiou]", "length:0-9999", "exact", "number", f"schema:{tmp_path / 'vowel.json'}"]
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), task=task, rewards=rewards, wish=wish)
    job = control.submit(draft)
    result = done(job)
    assert result["task"] == task and result["reward"]["last"] > result["reward"]["first"] + 0.3, result["reward"]
    assert "Reward" in result["verdict"] and result["good"]
    assert len(result["answers"]) == 4 and all(one["after"] != one["before"] for one in result["answers"])
    assert "Reward of the answers" in Path(result["report"]).read_text(encoding="utf-8")
    measured = peft(VOWELS, shelf, result["adapter"])
    assert measured["after"] > 1.2 * measured["before"], measured
