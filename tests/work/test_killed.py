"""kill -9 at random moments of a training, again and again: it always goes on, and ends with the same adapter."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
import tiny
from forked import Forked
from workers import adapter_hash

from appliance.jobs import control, folder, prepare
from appliance.jobs.folder import Job


def submit(base: Path, rows: Path) -> Job:
    draft = prepare.finetune(str(base), str(rows), wish={"steps": 40, "batch": 2})
    draft.plan = {**(draft.plan or {}), "accumulation": 1}
    draft.spec.update(save_steps=4, dropout=0.1)  # its random numbers must come back as well
    return control.submit(draft)


def kill_within(spawn: Forked, seconds: float) -> bool:
    """Kill the worker after so long; False where it had ended by itself."""
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # ended in this very moment
        os.kill(spawn.pid, signal.SIGKILL)
    return spawn.ended() == -signal.SIGKILL


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_killed_at_any_moment_it_ends_with_the_same_adapter(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    chance = random.Random(kills)
    with Forked() as spawn:
        monkeypatch.setattr(control, "_spawn", spawn)
        # A worker that was killed before it took its job is looked for half a minute; here it is known to be gone.
        monkeypatch.setattr(folder, "_START_GRACE_SECONDS", 0.0)
        began = time.monotonic()
        job = submit(shelf / "base-float32", rows)
        assert spawn.ended() == 0, job.log.read_text()[-3000:]
        whole = time.monotonic() - began
        undisturbed = adapter_hash(job)
        killed, jobs, resumed = 0, 0, 0
        while killed < kills:
            job = submit(shelf / "base-float32", rows)
            jobs += 1
            if jobs > resumed + 2:  # the first one took longer than they do: too few are hit
                whole *= 0.7
            while kill_within(spawn, chance.uniform(0, whole)):
                killed += 1
                state = job.state()
                if state.state == "done":  # killed after its last word
                    break
                assert state.state == "failed", state
                if killed >= kills:
                    control.resume(job)
                    spawn.ended()
                    break
                control.resume(job)
                resumed += 1
            assert adapter_hash(job) == undisturbed
        assert resumed > jobs / 2
        assert killed == kills
