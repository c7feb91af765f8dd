"""What stands in the workspace, whole or not; removing it; and what killed work has left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from workers import done, ended, until

from appliance import files
from appliance.errors import ApplianceError
from appliance.files import write_json
from appliance.hub import manifest, workspace
from appliance.jobs import control, models, prepare, process
from appliance.jobs.folder import Job, State, all_jobs
from appliance.jobs.sweep import sweep


def made(folder: Path, **origin: Any) -> Path:
    """The smallest folder that counts as a model."""
    folder.mkdir(parents=True)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\1" * 4000)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "tokenizer.json").write_text("{}")
    manifest.write(folder, **{"source": "huggingface", "reference": "owner/tiny", "revision": "c0ffee", **origin})
    return folder


@pytest.fixture
def worker(home: Path) -> Iterator[int]:
    """A process that passes for a job's worker."""
    asleep = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield asleep.pid
    asleep.kill()
    asleep.wait()
    shutil.rmtree(home / "jobs", ignore_errors=True)


def job_of(home: Path, worker: int, kind: str, state: str, events: Sequence[dict[str, Any]] = (), **spec: Any) -> Job:
    """A job's folder as its worker writes it."""
    job = Job(home / "jobs" / f"20261122-120000-{kind}-x")
    job.folder.mkdir(parents=True)
    write_json(job.folder / "job.json", {"id": job.id, "kind": kind, "environment": "core", "spec": spec})
    job.write_state(State(state, pid=worker, start_mark=process.start_mark(worker)))
    (job.folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return job


def test_whole_and_damaged(home: Path) -> None:
    made(home / "models" / "good")
    (made(home / "models" / "short") / "tokenizer.json").unlink()
    manifest.mark(made(home / "models" / "flipped"), ["config.json"])
    good, flipped, short = sorted(models.entries(), key=lambda entry: ["good", "flipped", "short"].index(entry.name))
    assert (good.state, flipped.state, short.state) == ("whole", "damaged", "damaged")
    assert good.todo == "" and "appliance download owner/tiny" in flipped.todo and "models verify short" in short.todo
    assert (good.source, good.reference, good.revision) == ("huggingface", "owner/tiny", "c0ffee")
    assert good.size_bytes >= 4000 and json.dumps(good.as_dict())


PROGRESS = [
    {"t": 1, "kind": "progress", "phase": "downloading", "done": 100, "total": 4_000_000, "unit": "B"},
    {"t": 2, "kind": "progress", "phase": "downloading", "done": 1_400_000, "total": 4_000_000, "unit": "B"},
    {"t": 3, "kind": "progress", "phase": "verifying", "done": 5, "total": 10, "unit": "B"},
    {"t": 4, "kind": "note", "text": "x"},
]


@pytest.mark.parametrize("state", ["failed", "stopped", "running", "done"])
def test_how_far_an_unfinished_download_is(home: Path, worker: int, state: str) -> None:
    partial = home / "models" / ".owner--tiny.partial"
    partial.mkdir(parents=True)
    # Reserved in full: its size says nothing.
    with (partial / "model.safetensors").open("wb") as file:
        file.truncate(4_000_000)
    job = job_of(
        home, worker, "download", state, PROGRESS, reference="owner/tiny", to=str(home / "models" / "owner--tiny")
    )
    (entry,) = models.entries()
    assert (entry.name, entry.done, entry.total, entry.size_bytes) == ("owner--tiny", 1_400_000, 4_000_000, 0)
    words = "is coming" if state == "running" else "unfinished"
    assert entry.word == words + ": 1.4 MB of 4.0 MB (35%)"
    todo = {"running": f"jobs show {job.id} --follow", "done": "download owner/tiny"}
    assert entry.todo.endswith("appliance " + todo.get(state, f"jobs resume {job.id}"))
    assert models.find("owner/tiny") == models.find("owner--tiny") == models.find(".owner--tiny.partial") == entry
    assert workspace.list_models() == []


def test_unfinished_ones_that_no_job_knows(home: Path) -> None:
    for name in (".owner--tiny.partial", "copied by hand"):
        (home / "models" / name).mkdir(parents=True)
    by_hand, partial = models.entries()
    assert partial.todo.endswith("appliance download owner/tiny") and partial.word == "unfinished"
    assert by_hand.state == "unfinished" and "import it from there" in by_hand.todo


def test_remove(home: Path) -> None:
    folder = made(home / "models" / "good")
    (home / "models" / ".good.removed").mkdir()  # of a removal that was killed
    entry = models.find("owner/tiny")
    assert models.remove(entry) == entry.size_bytes and list((home / "models").iterdir()) == []
    assert not folder.exists()
    with pytest.raises(ApplianceError, match="no model good"):
        models.find("good")


@pytest.mark.parametrize("spec", [{"model": "{}"}, {"base": {"folder": "{}"}}, {"adapter": "{}/x"}, {"models": ["{}"]}])
@pytest.mark.parametrize("kind", ["serve", "finetune"])
def test_one_in_use_stays(home: Path, worker: int, kind: str, spec: dict[str, Any]) -> None:
    folder = made(home / "models" / "good")
    made(home / "models" / "good-too")
    job = job_of(home, worker, kind, "running", **json.loads(json.dumps(spec).replace("{}", str(folder))))
    with pytest.raises(ApplianceError, match="is in use") as told:
        models.remove(models.find("good"))
    assert job.id in told.value.why and f"jobs stop {job.id}" in told.value.next_step and folder.is_dir()
    models.remove(models.find("good-too"))
    job.write_state(State("stopped"))
    models.remove(models.find("good"))


def test_what_is_coming_stays(home: Path, worker: int) -> None:
    (home / "models" / ".good.partial").mkdir(parents=True)
    job = job_of(home, worker, "download", "running", reference="owner/tiny", to=str(home / "models" / "good"))
    with pytest.raises(ApplianceError, match="is in use"):
        models.remove(models.find("good"))
    job.write_state(State("failed"))
    models.remove(models.find("good"))
    assert list((home / "models").iterdir()) == []


def test_a_damaged_model_in_use_is_not_mended(home: Path, worker: int) -> None:
    folder = made(home / "models" / "owner--tiny")
    manifest.mark(folder, ["config.json"])
    mend = prepare.download("owner/tiny")
    assert (mend.spec["source"], mend.spec["revision"]) == ("huggingface", "c0ffee")
    job_of(home, worker, "serve", "running", model=str(folder))
    with pytest.raises(ApplianceError, match="is in use"):
        prepare.download("owner/tiny")


def test_the_jobs(home: Path, tmp_path: Path) -> None:
    """Export, import and verify as real workers."""
    folder = made(home / "models" / "good")
    result = done(control.submit(models.export("owner/tiny", str(tmp_path / "good.tar"))))
    assert (
        result["exported"] == str(tmp_path / "good.tar") and result["bytes"] == (tmp_path / "good.tar").stat().st_size
    )
    result = done(control.submit(models.bring(str(tmp_path / "good.tar"), "brought")))
    assert (result["model"], result["reference"]) == (str(home / "models" / "brought"), "owner/tiny")
    assert done(control.submit(models.check(None)))["models"] == ["brought", "good"]
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "extra.txt").write_text("mine")
    job = control.submit(models.check(None))
    seen = until(job, lambda events: any(event["kind"] == "warning" for event in events))
    assert "extra.txt" in next(event["text"] for event in seen if event["kind"] == "warning")
    state = ended(job)
    assert state.state == "failed" and state.error and "good: config.json" in state.error["problems"][0]
    assert {entry.name: entry.state for entry in models.entries()} == {"brought": "whole", "good": "damaged"}
    with pytest.raises(ApplianceError, match="damaged"):
        models.export("good", str(tmp_path / "again.tar"))
    with pytest.raises(ApplianceError, match="is not there"):
        models.bring(str(tmp_path / "no.tar"), None)
    with pytest.raises(ApplianceError, match="no model nothing"):
        models.check("nothing")


def test_an_export_that_was_killed_goes_on(home: Path, tmp_path: Path) -> None:
    folder = made(home / "models" / "good")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(200_000_000)
    value = json.loads((folder / manifest.NAME).read_text())
    weights = folder / "model.safetensors"
    value["files"]["model.safetensors"] = {"size": 200_000_000, "sha256": files.sha256(weights)}
    write_json(folder / manifest.NAME, value)
    job = control.submit(models.export("good", str(tmp_path / "x.tar")))
    until(job, lambda events: any(event.get("phase") == "exporting" for event in events))
    state = job.state()
    if state.active and state.pid is not None:
        with suppress(ProcessLookupError):  # ended in this very moment
            os.kill(state.pid, 9)
        assert ended(job).state in ("failed", "done")
    if job.state().state == "failed":
        control.resume(job)
    done(job)
    assert [path.name for path in tmp_path.iterdir() if "x.tar" in path.name] == ["x.tar"]


def test_sweep(home: Path, worker: int) -> None:
    """Only what nobody can still use goes."""
    folder = made(home / "models" / "good")
    merge = job_of(home, worker, "merge", "running")
    stays = [
        folder, home / "models" / ".other.partial", home / "models" / f".mine.{merge.id}.partial",
        home / "jobs" / ".20261122-130000-finetune-x.0123abcd.tmp", folder / ".appliance-model.json.0123abcd.tmp",
        home / "models" / ".gitkeep.tmp", merge.folder,
    ]  # fmt: skip
    goes = [
        home / "models" / ".old.removed", home / "jobs" / ".20261122-110000-merge-y.removed",
        home / "models" / ".mine.20261122-110000-merge-gone.partial",
        home / "jobs" / ".20261122-140000-finetune-x.0123abcd.tmp", folder / ".appliance-model.json.89abcdef.tmp",
    ]  # fmt: skip
    for path in (*stays, *goes):
        if not path.exists():
            path.mkdir()
    fresh = stays[3] / "rows.jsonl"
    fresh.write_text("being written")
    long_ago = time.time() - 2 * 3600
    for path in (*goes, stays[3]):
        os.utime(path, (long_ago, long_ago))
    sweep()
    assert all(path.exists() for path in stays) and not any(path.exists() for path in goes)
    assert {entry.name: entry.state for entry in models.entries()} == {"good": "whole", "other": "unfinished"}
    merge.write_state(State("failed"))
    sweep()
    assert stays[2].exists()  # a resumed merge goes on with what it has finished
    merge.write_state(State("done"))
    sweep()
    assert not stays[2].exists() and all_jobs() == [merge]
    install = job_of(home, worker, "install", "failed", engine="vllm")
    halves = [home / "engines" / f".{name}.{half}" for name in ("vllm", "sglang") for half in ("partial", "cache")]
    for path in (*halves, home / "engines" / "lmdeploy"):
        path.mkdir(parents=True)
    (halves[0] / "torch").write_bytes(b"x" * 5000)
    sweep()
    assert [path.exists() for path in halves] == [True, True, False, False]
    assert control.remove(install) > 5000 and not halves[0].exists() and (home / "engines" / "lmdeploy").exists()
    shutil.rmtree(home / "models")
    sweep()
