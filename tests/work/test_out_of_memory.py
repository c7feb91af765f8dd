"""A memory that fills: torch's real error at a chosen step of a real worker, which goes on smaller or says why not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from workers import done, ended

from appliance import files, settings
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, events
from appliance.work import out_of_memory

STARVED = Path(__file__).with_name("starved.py")


def start(shelf: Path, rows: Path, step: int | None, **wish: Any) -> Job:
    """A fine-tune; its first worker runs out of memory at this step."""

    def spawn(job: Job, *_more: Any) -> None:
        subprocess.Popen(
            [settings.python_of("train"), STARVED, str(step), job.folder],
            env={**settings.child_environment(), "OMP_NUM_THREADS": "1"},
            cwd=job.folder,
            start_new_session=True,
            stdout=job.log.open("ab"),
            stderr=subprocess.STDOUT,
        )

    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 30, **wish})
    draft.plan = {**(draft.plan or {}), "accumulation": 2}
    draft.spec.update(save_steps=10)
    with pytest.MonkeyPatch.context() as patch:
        if step is not None:
            patch.setattr(control, "_spawn", spawn)
        return control.submit(draft)


def losses(job: Job) -> dict[int, float]:
    found, _end = events(job)
    return {event["step"]: event["loss"] for event in found if event["kind"] == "metric" and "loss" in event}


def test_it_goes_on_from_the_checkpoint_with_smaller_batches(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    undisturbed = start(shelf, rows, None, batch=4)
    done(undisturbed)
    job = start(shelf, rows, 25, batch=4)
    assert done(job)["steps"] == 30
    assert files.read_json(job.folder / out_of_memory.NAME) == {"micro_batch": 2, "accumulation": 4, "length": 128}
    said = [event["text"] for event in events(job)[0] if event["kind"] in ("note", "warning")]
    assert any("full at step 25" in text and "2 rows at once instead of 4" in text for text in said), said
    assert any("from the checkpoint at step 20" in text for text in said), said
    # The same rows at every step, so the same losses, but for the order of additions.
    for step, loss in losses(undisturbed).items():
        assert losses(job)[step] == pytest.approx(loss, rel=2e-3), step


def test_alone_in_its_batch_a_row_is_cut_and_then_there_is_a_sentence(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    job = start(shelf, rows, 3, batch=1, length=300)
    assert done(job)["steps"] == 30
    assert files.read_json(job.folder / out_of_memory.NAME)["length"] == 150

    job = start(shelf, rows, 3, batch=1, length=200)
    state = ended(job)
    assert state.state == "failed" and state.error
    assert "one row of 200 tokens" in state.error["what"] and "smaller model" in state.error["next"]


@given(st.integers(1, 64), st.integers(1, 64), st.integers(out_of_memory.SHORTEST, 65536))
def test_reducing_keeps_the_rows_of_a_step_and_comes_to_an_end(micro: int, accumulation: int, length: int) -> None:
    rows = micro * accumulation
    for _turn in range(100):
        smaller = out_of_memory.reduced(micro, accumulation, length)
        if smaller is None:
            return
        assert smaller["micro_batch"] * smaller["accumulation"] == rows
        assert smaller["micro_batch"] * smaller["length"] < micro * length
        assert smaller["length"] >= out_of_memory.SHORTEST
        micro, accumulation, length = smaller["micro_batch"], smaller["accumulation"], smaller["length"]
    raise AssertionError("no end")


def test_a_row_of_kto_keeps_a_neighbour() -> None:
    """Alone it would have another loss, which can't be compared with what was held out before."""
    assert out_of_memory.reduced(4, 2, 512, least=2) == {"micro_batch": 2, "accumulation": 4, "length": 512}
    assert out_of_memory.reduced(2, 4, 512, least=2) == {"micro_batch": 2, "accumulation": 4, "length": 256}
