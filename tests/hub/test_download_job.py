"""The download job as a real worker process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_hub import COMMIT, MODEL, Do, FakeHub
from model_files import TAKEN, large_files, model_files, write
from workers import PATIENCE

from appliance.files import read_json, sha256, write_json
from appliance.hub import hubs as clients
from appliance.hub.workspace import unfinished
from appliance.jobs.folder import Job, events
from appliance.jobs.watch import Picture


def run_job(folder: Path, spec: dict[str, Any], kind: str = "download") -> tuple[int, str]:
    """The worker's exit code and everything it printed or wrote, except the result."""
    write_json(folder / "job.json", {"id": folder.name, "kind": kind, "language": "en", "spec": spec})
    write_json(folder / "state.json", {"state": "queued"})
    done = subprocess.run(
        [sys.executable, "-m", "appliance.work", str(folder)], capture_output=True, text=True, env={**os.environ}
    )
    return done.returncode, done.stdout + done.stderr + (folder / "state.json").read_text()


def spec(**changes: Any) -> dict[str, Any]:
    return {"reference": MODEL, "source": "auto", "revision": None, "to": None, **changes}


def test_result_and_events(tmp_path: Path, hubs: dict[str, FakeHub], workspace: Path) -> None:
    code, said = run_job(tmp_path / "job", spec(source="modelscope"))
    assert code == 0, said
    result = read_json(tmp_path / "job" / "result.json")
    folder = workspace / "models" / "owner--tiny"
    assert result["model"] == str(folder) and result["files"] == len(TAKEN)
    assert (result["reference"], result["source"], result["revision"]) == (MODEL, "modelscope", COMMIT)
    assert result["sha256"] == {name: sha256(folder / name) for name in TAKEN}
    assert result["bytes"] == sum((folder / name).stat().st_size for name in TAKEN)
    events = [json.loads(line) for line in (tmp_path / "job" / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "progress"]
    assert {"downloading", "verifying"} <= {step["phase"] for step in steps} and steps[-1]["unit"] == "B"


def test_a_slow_hub_on_screen_and_in_the_events_and_a_stop_in_the_middle(
    tmp_path: Path, hubs: dict[str, FakeHub], workspace: Path
) -> None:
    hub, job = hubs["huggingface"], tmp_path / "job"
    hub.files, hub.rate = large_files((20_000_000, 500_000)), 200_000
    hub.plan = lambda ask: Do(status=503) if ask.number == 1 else None
    asked = spec(source="huggingface")
    write_json(job / "job.json", {"id": "job", "kind": "download", "language": "en", "spec": asked})
    write_json(job / "state.json", {"state": "queued"})
    worker = subprocess.Popen([sys.executable, "-m", "appliance.work", str(job)], env={**os.environ})
    picture, offset, deadline = Picture(Job(job)), 0, time.monotonic() + PATIENCE
    while "mended" not in "".join(picture.transfer()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        found, offset = events(Job(job), offset)
        picture.add(Job(job).written_state(), found)
    assert picture.words() == "downloading" and "/ 20.5 MB" in picture.figures() and "left" in picture.figures()
    line = picture.transfer()[0]
    assert line.startswith("model-00001-of-00002.safetensors ") and "connections: " in line
    while hub.bytes_sent.total() < 3_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = hub.bytes_sent.total()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 143
    # At once: what comes in five seconds over every connection. The hub is the clock, which a busy machine slows too.
    assert hub.bytes_sent.total() - before < 5 * 8 * hub.rate
    assert read_json(job / "state.json")["state"] == "stopped"
    assert not (job / "result.json").exists() and [one.name for one in unfinished()] == ["owner--tiny"]
    hub.rate = 0
    before = hub.bytes_sent.total()
    code, said = run_job(job, asked)
    assert code == 0, said
    assert hub.bytes_sent.total() - before < 19_000_000
    notes = [event["text"] for event in events(Job(job))[0] if event["kind"] == "note"]
    assert any(text.startswith("Goes on at ") for text in notes)
    assert read_json(job / "result.json")["host_memory_peak_gib"] * 2**30 <= 150_000_000


def test_a_folder_of_choice(tmp_path: Path) -> None:
    source = write(tmp_path / "source", model_files())
    code, said = run_job(tmp_path / "job", spec(reference=str(source), to=str(tmp_path / "there")))
    assert code == 0, said
    assert (tmp_path / "there" / "config.json").is_file()


def test_a_failure_says_what_why_next_and_no_token(
    tmp_path: Path, hubs: dict[str, FakeHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    hubs["huggingface"].token = "another"
    hubs["modelscope"].status = 404
    code, said = run_job(tmp_path / "job", spec())
    error = read_json(tmp_path / "job" / "state.json")["error"]
    assert code == 1 and error["what"] and error["next"] and len(error["problems"]) == 2
    assert "hf_secretsecret" not in said + (tmp_path / "job" / "events.jsonl").read_text()


def test_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
    told = "401 for https://user:password@cdn.example/a/b?X-Signature=abc&t=ms-secret with ms-secret"
    assert clients.scrub(told) == "401 for https://***@cdn.example/a/b with ***"
