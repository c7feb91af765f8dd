"""What strangers bring: fewer rows than a step takes, a tokenizer that names no end, answers that are calls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from workers import done, ended

from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, events
from appliance.work import same_answers

TOOL = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def submit(base: Path, data: Path, wish: dict[str, Any], **words: Any) -> Job:
    return control.submit(prepare.finetune(str(base), str(data), wish=wish, accept_drops=True, **words))


def calls(count: int = 4) -> list[dict[str, Any]]:
    return [
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": f"add {i}"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"type": "function", "function": {"name": "add", "arguments": {"a": i}}}]},
                {"role": "tool", "content": str(i + 1)},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"type": "function", "function": {"name": "add", "arguments": {"a": i + 1}}}]},
            ],
        }
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.usefixtures("spawn")
def test_fewer_rows_than_a_step_takes_are_learned_from_in_every_step(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", 3)
    few = submit(shelf / "base-float32", rows, {"batch": 64, "epochs": 4})
    assert done(few)["steps"] == 4 == (few.described["plan"] or {})["steps"]  # four passes, a step each
    wish = {"batch": 64, "steps": 1, "length": 96}
    tried = done(submit(shelf / "base-float32", rows, wish, task="grpo", rewards=["length:1-99"]))
    assert tried["steps"] == 1 and tried["reward"]["first"] > 0 and tried["rows"] == 3


@pytest.mark.usefixtures("spawn")
def test_a_tokenizer_that_names_no_end_is_used_and_said(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = shutil.copytree(shelf / "base-float32", tmp_path / "endless")
    named = json.loads((base / "tokenizer_config.json").read_text())
    named = {name: value for name, value in named.items() if name not in ("eos_token", "pad_token")}
    (base / "tokenizer_config.json").write_text(json.dumps(named))
    pairs = write(
        tmp_path / "p.jsonl", [{"prompt": f"{i}?", "chosen": "yes" * (i + 1), "rejected": "n"} for i in (0, 9)]
    )

    def warned(job: Job) -> bool:
        done(job)
        return any("eos_token" in event["text"] for event in events(job)[0] if event["kind"] == "warning")

    assert not warned(submit(base, pairs, {"steps": 1}))  # the model itself names it
    (base / "generation_config.json").unlink()
    config = json.loads((base / "config.json").read_text())
    del config["eos_token_id"]
    (base / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    assert warned(submit(base, pairs, {"steps": 1}))
    text = write(tmp_path / "t.jsonl", [{"text": "once upon a time " * 3}])
    assert warned(submit(base, text, {"steps": 1}, task="pretrain"))


@pytest.mark.usefixtures("spawn")
def test_what_it_answers_is_kept_after_every_task(home: Path, shelf: Path, tmp_path: Path) -> None:
    """For serving to ask again: after pairs, thumbs and rows that are all calls too."""
    base = shelf / "base-float32"
    pairs = write(tmp_path / "p.jsonl", [{"prompt": f"{i}?", "chosen": "yes", "rejected": "no"} for i in range(4)])
    thumbs = [{"prompt": f"{i}?", "completion": "yes", "label": i % 2 == 0} for i in range(4)]
    files = {"dpo": pairs, "kto": write(tmp_path / "k.jsonl", thumbs), "sft": write(tmp_path / "c.jsonl", calls())}
    for task, data in files.items():
        result = done(submit(base, data, {"steps": 1, "length": 512}))
        kept = same_answers.kept(Path(result["adapter"]))
        assert result["task"] == task and len(kept["answers"]) == 3, task
        assert all(one["messages"][-1]["role"] == "user" for one in kept["answers"]), task


@pytest.mark.usefixtures("spawn")
def test_why_nothing_is_left_to_learn(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = shelf / "base-float32"
    alike = [{"prompt": f"{i}?", "chosen": "yes " * 90 + "a", "rejected": "yes " * 90 + "b"} for i in range(3)]
    state = ended(submit(base, write(tmp_path / "alike.jsonl", alike), {"steps": 1, "length": 64}))
    assert state.error and "both answers begin alike" in state.error["why"]
    data, wish = write(tmp_path / "calls.jsonl", calls()), {"steps": 1, "length": 512}
    state = ended(submit(base, data, wish, task="grpo", rewards=["exact"]))
    assert state.error and "answer in words" in state.error["why"] and "sft" in state.error["next"]
