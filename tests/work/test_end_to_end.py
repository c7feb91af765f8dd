"""Rows end to end and rows in packs: the same loss as one by one, the same adapter after a kill, no text lost."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
from held import held
from workers import adapter_hash, done, kill, saved, until

from appliance import settings
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job

ONE_BY_ONE = Path(__file__).with_name("one_by_one.py")


def start(base: Path, rows: Path, task: str = "sft", **wish: Any) -> Job:
    draft = prepare.finetune(str(base), str(rows), task=task, wish={"steps": 8, "batch": 4, **wish}, held_out=0.0)
    draft.spec.update(save_steps=100)
    return control.submit(draft)


def losses(job: Job) -> list[float]:
    done(job)
    events = [json.loads(line) for line in (job.folder / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["kind"] == "metric" and "loss" in event]


def test_rows_do_not_see_each_other(shelf: Path) -> None:
    """Padded, end to end and packed give the loss of each row alone; so does a model that looks back only so far.

    What mixes rows is found out and refused.
    """
    told = subprocess.run(
        [settings.python_of("train"), ONE_BY_ONE, shelf / "base-float32"],
        env={**settings.child_environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    for model in ("full", "window"):
        for way in ("padded", "end to end", "packed"):
            assert found[model][way] == pytest.approx(found[model]["alone"], abs=1e-4), (model, way)
    assert found["full"]["why"] == found["window"]["why"] == ""
    assert found["mixed"]["why"]
    assert found["liger"]  # without the package: a sentence, and the training goes on


@pytest.mark.slow
def test_the_same_learning_with_and_without_padding(home: Path, shelf: Path, tmp_path: Path) -> None:
    # All rows in each step: where nothing is padded they come in another order.
    rows = tiny.write_rows(tmp_path / "rows.jsonl", 8)
    padded, free = (
        losses(start(shelf / "base-float32", rows, padding_free=free, learning_rate=5e-3, batch=8))
        for free in (False, True)
    )
    assert free == pytest.approx(padded, abs=1e-4) and free[-1] < free[0]


@pytest.mark.parametrize("disturbed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_packs_of_a_long_text(home: Path, shelf: Path, tmp_path: Path, disturbed: bool) -> None:
    """A text of several lengths is learned to its end; a packed training that is killed ends with the same adapter."""
    rows = tmp_path / "texts.jsonl"
    texts = ["The quick brown fox. " * 30, *(f"Note {n}: jumps over the lazy dog." for n in range(30))]
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    hashes = []
    for killed in (False, True)[: 1 + disturbed]:
        words: dict[str, Any] = {"length": 128, "steps": 120, "batch": 2}
        draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish=words, held_out=0.0)
        assert draft.plan and draft.plan["packing"] and draft.plan["reasons"]["packing"]
        draft.spec.update(save_steps=20, dropout=0.1)
        begin = partial(control.submit, draft)
        job = held(25, begin) if killed else begin()
        if killed:
            until(job, saved(job, 20))
            kill(job)
            control.resume(job)
        hashes.append(adapter_hash(job))
        result = done(job)
        assert result["rows_cut"] == 0
        assert result["learned_tokens"] >= sum(map(len, texts))
        rows_at_once, tokens = result["memory"]["largest_batch"]
        assert rows_at_once == 1 and tokens <= 2 * 128
        assert result["loss_last"] < result["loss_first"]
    assert hashes[0] == hashes[-1]
