"""Figures for Weights & Biases and SwanLab, with their real libraries and without a network; keys go nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from workers import done, trained, until

from appliance import settings
from appliance.errors import UsageError
from appliance.jobs import control, prepare, recipe
from appliance.jobs.folder import events

SECRET = "0123456789abcdef0123456789abcdef01234567"


def test_both_are_written_for_later_where_there_is_no_key(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    draft = prepare.finetune(
        str(shelf / "base-float32"), str(rows), wish={"steps": 4, "batch": 2}, track=["wandb", "swanlab"]
    )
    assert "--track wandb --track swanlab" in draft.command
    job = control.submit(draft)
    done(job)
    said = [event["text"] for event in events(job)[0] if event["kind"] in ("note", "warning")]
    assert not [text for text in said if "does not work" in text], said
    assert sum("there is no key" in text for text in said) == 2
    for name in ("wandb", "swanlab"):
        written = [path for path in (job.folder / name).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in written) > 500, name
        held = b"".join(path.read_bytes() for path in written)
        assert b"loss" in held and b"learning_rate" in held
        assert str(rows).encode() not in held and b"1 + 1" not in held  # figures, and nothing else
    measured = [event for event in events(job)[0] if event["kind"] == "metric"]
    assert measured[-1]["tokens_s"] > 0 and measured[-1]["memory_gib"] > 0


@pytest.mark.slow
def test_only_the_training_gets_the_key(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where nobody answers, it goes on without."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SWANLAB_API_KEY", "another" + SECRET)
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 3, "batch": 2}, track=["wandb"])
    job = control.submit(draft)
    until(job, lambda found: any(event.get("phase") == "loading" for event in found))
    seen = Path(f"/proc/{job.state().pid}/environ").read_bytes()
    assert SECRET.encode() in seen and b"another" not in seen
    assert SECRET.encode() not in Path(f"/proc/{job.state().pid}/cmdline").read_bytes()
    until(job, trained(3))
    assert done(job)["steps"] == 3
    assert any("goes on without it" in event.get("text", "") for event in events(job)[0])
    for path in job.folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert not any("KEY" in name for name in settings.child_environment())


def test_words_for_it(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(UsageError, match="no tracker comet"):
        prepare.finetune(str(shelf / "base-float32"), str(rows), track=["comet"])
    steps, problems = recipe.check({"jobs": [{"finetune": {"model": "m", "data": "d", "track": ["wandb"]}}]})
    assert not problems and steps[0][1]["track"] == ["wandb"]
