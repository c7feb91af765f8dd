"""Merges that are killed at random moments, stopped, or run out of disk: no model that looks whole, and it goes on."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from held import held
from test_full_disk import fill
from test_merge_kinds import steps_apart
from workers import PATIENCE, done, ended, gone, until

from appliance import files
from appliance.hub import manifest, workspace
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job
from appliance.merging import journal, plan, stream

SHARDS, SHARD_BYTES = 8, 24 * 2**20


def ballast(folder: Path, bytes_each: int = SHARD_BYTES) -> None:
    """Shards before and behind the model's own, so that a worker is seen in the middle of it. Random, so that bytes in
    a wrong place show."""
    raw = np.random.default_rng(0).integers(0, 255, bytes_each, np.uint8).tobytes()
    for number in range(SHARDS):
        facts = {f"ballast{number}": {"dtype": "U8", "shape": [bytes_each], "data_offsets": [0, bytes_each]}}
        header = json.dumps(facts).encode()
        name = f"{'a' if number % 2 else 'z'}-{number}.safetensors"
        (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + raw)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Path:
    base = shutil.copytree(shelf / "base-float32", tmp_path_factory.mktemp("large") / "base")
    ballast(base)
    return base


@pytest.fixture(scope="module")
def expected(large: Path, shelf: Path) -> dict[str, str]:
    """sha256 of every weight file of the merged model, made in this process without interruption."""
    target = large.parent / "expected"
    target.mkdir()
    names = sorted(path.name for path in large.glob("*.safetensors"))
    made = plan.make(large, names, [(shelf / "adapters" / "plain", 1.0)], files.read_json(large / "config.json"))
    told: dict[str, str] = {}
    stream.write(
        made.outputs, target, moved=lambda _count: None, check_stopped=lambda: None,
        finished=lambda name, _size, digest: told.__setitem__(name, digest),
    )  # fmt: skip
    for name in names:
        if name != "model.safetensors":
            assert told[name] == files.sha256(large / name)
    shutil.rmtree(target)
    return told


def in_its_middle(shelf: Path, base: Path, count: int) -> tuple[Job, Path]:
    """A merge that has finished so many weight files and waits there; the folder that it makes them in."""
    job = held(count, lambda: merge_job(shelf, base))
    staging = journal.staging_folder(Path(job.spec["spec"]["to"]), job.id)

    def finished(_events: object) -> bool:
        written = staging / journal.NAME
        return written.exists() and written.read_bytes().count(b"\n") == 1 + count

    until(job, finished)
    return job, staging


def merge_job(shelf: Path, base: Path) -> Job:
    made = prepare.merge(str(shelf / "adapters" / "plain"), base=str(base), to="out")
    made.spec["proof"] = False
    return control.submit(made)


def whole(folder: Path, expected: dict[str, str]) -> bool:
    written = manifest.read(folder)
    return (
        written is not None
        and {name: entry["sha256"] for name, entry in written["files"].items() if name in expected} == expected
        and all(files.sha256(folder / name) == digest for name, digest in expected.items())
    )


def kill_again_and_again(home: Path, shelf: Path, large: Path, expected: dict[str, str], kills: int) -> None:
    chance = random.Random(kills)
    target = home / "models" / "out"
    job = merge_job(shelf, large)
    in_the_middle = 0
    for number in range(kills):
        deadline = time.monotonic() + PATIENCE
        # Every other one when a further file is finished, the others at any moment.
        staging = journal.staging_folder(target, job.id)
        finished = len(list(staging.glob("*.safetensors")))
        moment = time.monotonic() + chance.uniform(0, 1.0)
        while job.state().active:
            assert time.monotonic() < deadline
            if number % 2 and len(list(staging.glob("*.safetensors"))) > finished:
                break
            if not number % 2 and time.monotonic() > moment and job.written_state().pid is not None:
                break
            time.sleep(0.002)
        with_pid = job.written_state().pid
        if with_pid is not None and job.state().active:
            try:
                os.kill(with_pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        state = ended(job)
        if target.exists():  # it was faster, or the kill came after the rename
            assert whole(target, expected)
        else:
            assert state.state == "failed" and state.error
            assert workspace.list_models() == []
            in_the_middle += staging.exists() and bool(list(staging.glob("*.safetensors")))
        if state.state == "done":
            shutil.rmtree(target)
            job = merge_job(shelf, large)
        else:
            if state.pid is not None:
                gone(state.pid)
            control.resume(job)
    assert done(job)
    assert whole(target, expected) and [path.name for path in target.parent.iterdir()] == ["out"]
    assert in_the_middle >= kills // 10  # the kills did hit something


def test_ten_kills(home: Path, shelf: Path, large: Path, expected: dict[str, str]) -> None:
    kill_again_and_again(home, shelf, large, expected, 10)


@pytest.mark.long
def test_two_hundred_kills(home: Path, shelf: Path, large: Path, expected: dict[str, str]) -> None:
    kill_again_and_again(home, shelf, large, expected, 200)


def test_a_slow_disk_gets_what_was_hashed(
    large: Path, shelf: Path, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing may be made anew in the memory whose write is still under way, nor over the page that a load has begun.
    chance, write_all = random.Random(3), stream._write_all

    def slowly(handle: int, data: memoryview, at: int) -> None:
        time.sleep(chance.choice((0, 0, 0.05)))
        write_all(handle, data, at)

    monkeypatch.setattr(stream, "_write_all", slowly)
    made = plan.make(
        large, sorted(expected), [(shelf / "adapters" / "plain", 1.0)], files.read_json(large / "config.json")
    )
    told: dict[str, str] = {}
    stream.write(
        made.outputs, tmp_path, moved=lambda _count: None, check_stopped=lambda: None,
        finished=lambda name, _size, digest: told.__setitem__(name, digest),
    )  # fmt: skip
    assert told == expected == {name: files.sha256(tmp_path / name) for name in expected}


def test_stopped_it_goes_on_with_what_is_not_finished(
    home: Path, shelf: Path, large: Path, expected: dict[str, str]
) -> None:
    job, staging = in_its_middle(shelf, large, 2)
    control.stop(job)
    assert job.state().state == "stopped"
    kept = {path.name: path.stat().st_mtime_ns for path in staging.glob("*.safetensors")}
    assert len(kept) == 2 and not (home / "models" / "out").exists() and workspace.list_models() == []
    control.resume(job)
    model = Path(done(job)["model"])
    assert whole(model, expected)
    assert all((model / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())


def test_what_changed_meanwhile_is_not_gone_on_with(home: Path, shelf: Path, large: Path, tmp_path: Path) -> None:
    base = shutil.copytree(large, tmp_path / "base")
    job, _staging = in_its_middle(shelf, base, 1)
    control.stop(job)
    raw = bytearray((base / "a-1.safetensors").read_bytes())
    raw[-1] ^= 1
    (base / "a-1.safetensors").write_bytes(raw)
    control.resume(job)
    model = Path(done(job)["model"])
    assert files.sha256(model / "a-1.safetensors") == files.sha256(base / "a-1.safetensors")


def test_removing_an_interrupted_merge_removes_what_it_wrote(home: Path, shelf: Path, large: Path) -> None:
    job, staging = in_its_middle(shelf, large, 1)
    control.stop(job)
    assert staging.exists()
    assert control.remove(job) > 0
    assert not staging.exists()


def mounted(place: Path, size: str) -> None:
    """A small disk at this folder."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip("no permission to mount a small disk")


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted(place, "400m")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full_at_each_shard(
    small_disk: Path, shelf: Path, large: Path, expected: dict[str, str]
) -> None:
    names = sorted(expected)
    adapters = [(shelf / "adapters" / "plain", 1.0)]
    made = plan.make(large, names, adapters, files.read_json(large / "config.json"))
    staging = small_disk / "staging"
    staging.mkdir()

    def go_on() -> journal.Journal:
        kept = journal.Journal(staging, plan.identity(large, names, adapters))
        todo = [output for output in made.outputs if output.name not in kept.finished]
        stream.write(todo, staging, finished=kept.add, moved=lambda _count: None, check_stopped=lambda: None)
        return kept

    for number, output in enumerate(made.outputs):
        assert not list(staging.glob(".*.writing"))
        filled = fill(small_disk, output.size // 2 if output.size > 2**20 else 16384)
        with pytest.raises(OSError) as full:
            go_on()
        assert full.value.errno == errno.ENOSPC and full.value.filename
        kept = journal.Journal(staging, plan.identity(large, names, adapters))
        assert list(kept.finished) == [one.name for one in made.outputs[:number]]
        assert not (staging / output.name).exists()
        assert not list(staging.glob(".*.writing"))
        filled.unlink()
        # Room for just this one more.
        filled = fill(small_disk, output.size + 49152)
        with pytest.raises(OSError) if number + 1 < len(made.outputs) else nullcontext():
            go_on()
        filled.unlink()
    kept = journal.Journal(staging, plan.identity(large, names, adapters))
    assert kept.finished == expected
    assert all(files.sha256(staging / name) == digest for name, digest in expected.items())


def test_a_full_disk_is_told_and_resumed(
    small_disk: Path,
    shelf: Path,
    large: Path,
    expected: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(small_disk / "home"))
    made = prepare.merge(str(shelf / "adapters" / "plain"), base=str(large), to="out")
    made.spec["proof"] = False
    made.disk_gib = 0.0  # as if it had filled up after the question
    filled = fill(small_disk, 120 * 2**20)
    job = control.submit(made)
    state = ended(job)
    assert state.error and state.error["what"] == "The disk is full." and "resume" in state.error["next"]
    filled.unlink()
    # It looks for room beside its folder, and finds none within: as if the disk had filled up in the meantime.
    staging = journal.staging_folder(small_disk / "home" / "models" / "out", job.id)
    mounted(staging, "100m")
    control.resume(job)
    state = ended(job)
    assert state.error and state.error["what"] == "The disk is full." and "resume" in state.error["next"]
    kept = {path.name: path.stat().st_mtime_ns for path in staging.glob("*.safetensors")}
    assert 1 < len(kept) < len(expected)
    shutil.copytree(staging, tmp_path / "kept")
    subprocess.run(["umount", staging], check=True)
    shutil.copytree(tmp_path / "kept", staging, dirs_exist_ok=True)
    control.resume(job)
    model = Path(done(job)["model"])
    assert whole(model, expected)
    assert all((model / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())
    shutil.copytree(model, tmp_path / "alone", ignore=shutil.ignore_patterns("[az]-*"))
    assert steps_apart(tmp_path / "alone", shelf / "merged" / "float32-plain").max() == 0
