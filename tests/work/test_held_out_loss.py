"""A fine-tune measures itself on rows that it never learns from, and keeps the state that did best on them."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import held as holding
from workers import adapter_hash, done, kill, saved, until

from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, events
from appliance.work import checkpoints, watching


def write_rows(file: Path, *, nonsense: bool) -> Path:
    """220 rows: squares, or numbers that nothing leads to, which can only be learned by heart."""
    chance = random.Random(0)
    pairs = [
        {"question": f"{n} times {n}?", "answer": f"{chance.randrange(10**9)}" if nonsense else "that is a square"}
        for n in range(220)
    ]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return file


def start(base: Path, file: Path, *, save_steps: int = 0, **wish: Any) -> Job:
    draft = prepare.finetune(str(base), str(file), wish={"batch": 4, **wish}, held_out=0.1)
    draft.plan = {**(draft.plan or {}), "accumulation": 1}
    draft.spec.update(dropout=0.1, **({"save_steps": save_steps} if save_steps else {}))
    return control.submit(draft)


def test_the_loss_on_rows_held_out_is_measured(home: Path, shelf: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", nonsense=False)
    hashes = []
    for killed in (False, True):
        begin = partial(start, shelf / "base-float32", file, steps=45, learning_rate=2e-3, save_steps=10)
        job = holding.held(22, begin) if killed else begin()
        if killed:
            until(job, saved(job, 20))
            kill(job)
            control.resume(job)
        hashes.append(adapter_hash(job))
        result = done(job)
        kept_back = json.loads((job.folder / "held_out.json").read_text())
        held = result["held_out"]
        assert held["rows"] == len(kept_back) == job.described["spec"]["data"]["held_out"] > 0
        assert result["rows"] + held["rows"] == 220
        assert held["best"] == held["last"] < 0.9 * held["first"]
    assert hashes[0] == hashes[1]  # measuring is no part of what is learned, nor of what chance brings


def test_learning_by_heart_ends_early_and_the_best_state_is_kept(home: Path, shelf: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", nonsense=True)
    job = start(shelf / "base-float32", file, steps=1500, learning_rate=1e-2, save_steps=20)
    result = done(job)
    held = result["held_out"]
    assert result["steps"] < 1500 and held["best_step"] == result["steps"] - 60
    assert held["best"] < held["last"]
    assert f"ended at step {result['steps']} of 1500" in result["verdict"], result["verdict"]
    said = [event["text"] for event in events(job)[0] if event["kind"] == "note"]
    assert any("ends here" in text for text in said) and any(f"step {held['best_step']}" in text for text in said)


def test_a_short_run_is_not_ended_by_chance() -> None:
    """Rows that were seen once, or not all of them yet, are not known by heart."""
    losses = ((0, 3.0), (4, 2.0), (8, 2.1), (12, 2.1), (16, 2.1))
    for rows, ends in ((200, False), (100, True)):  # eight rows a step
        log = [{"step": step, "eval_loss": loss, "epoch": 8 * step / rows} for step, loss in losses]
        assert watching.learned_by_heart(log) is ends
        assert not watching.learned_by_heart(log[:-1])


def test_of_a_log_the_best_step_is_told() -> None:
    assert checkpoints.best_of([{"step": 3, "loss": 1.0}]) is None
    history = [{"step": step, "eval_loss": loss} for step, loss in ((0, 0.1), (10, 2.0), (20, 1.5), (30, 1.7))]
    assert checkpoints.best_of(history) == (20, 1.5)
