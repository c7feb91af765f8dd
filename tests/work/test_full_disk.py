"""A disk that fills up while a model learns: a small tmpfs as the workspace. Needs root, or is skipped."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from workers import adapter_hash, ended, finetune, saved, until

from appliance.jobs import control
from appliance.jobs.folder import all_jobs, events
from appliance.jobs.watch import failure
from appliance.work import checkpoints


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a small disk")
    monkeypatch.setenv("APPLIANCE_HOME", str(place / "home"))
    yield place
    for job in all_jobs():
        control.stop(job, patience=1.0)
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, room: int = 0) -> Path:
    """No more than `room` bytes are free."""
    ballast = place / "ballast"
    with ballast.open("ab", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"\0" * 4096)
    os.truncate(ballast, ballast.stat().st_size - room)
    return ballast


# Where a checkpoint of some 300 kB then breaks: at its first file, in safetensors, in torch.save.
@pytest.mark.parametrize(
    "room", [60_000, pytest.param(0, marks=pytest.mark.slow), pytest.param(150_000, marks=pytest.mark.slow)]
)
def test_the_last_good_checkpoint_stays_and_it_goes_on_once_there_is_room(
    small_disk: Path, shelf: Path, tmp_path: Path, room: int
) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    job = finetune(shelf / "base-float32", rows)
    until(job, saved(job, 40))
    ballast = fill(small_disk, room)
    state = ended(job)
    assert state.state == "failed" and state.error
    told = failure(job, state)
    assert told.what == "The disk is full.", told
    assert told.why and "resume" in told.next_step
    kept = checkpoints.latest_whole(job.folder / "checkpoints")
    assert kept and kept[0] >= 40
    assert not (job.folder / "adapter").exists() and not (job.folder / "checkpoints" / ".staging").exists()
    # Still full: the front says so, and the job stays as it is.
    ballast = fill(small_disk)
    with pytest.raises(OSError) as refused:
        control.resume(job)
    assert refused.value.errno == errno.ENOSPC
    assert job.state().state == "failed"
    ballast.unlink()
    control.resume(job)
    assert len(adapter_hash(job)) == 64
    found, _offset = events(job)
    raw = (job.folder / "events.jsonl").read_bytes().splitlines()
    assert len(raw) - len(found) <= 2  # a line or two torn where the disk was full
