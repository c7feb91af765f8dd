"""A fine-tune measures itself on rows that it never learns from."""

from __future__ import annotations

import json
from pathlib import Path

from workers import done, until

from appliance.jobs import control, prepare


def test_the_loss_on_rows_held_out_is_measured(home: Path, shelf: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    pairs = [{"question": f"{n} times {n * n}?", "answer": f"{n * n * n} says number {n}"} for n in range(220)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    draft = prepare.finetune(str(shelf / "base-float32"), str(file), wish={"steps": 4, "batch": 4}, held_out=0.1)
    job = control.submit(draft)
    result = done(job)
    kept_back = json.loads((job.folder / "held_out.json").read_text())
    assert result["rows_held_out"] == len(kept_back) == job.described["spec"]["data"]["held_out"]
    assert result["rows"] + result["rows_held_out"] == 220 and result["held_out_loss"] > 0
    until(job, lambda events: sum("held_out_loss" in event for event in events) == 4)
