"""The download job as a real worker process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_hub import COMMIT, MODEL, FakeHub
from model_files import TAKEN, model_files, write

from appliance.files import read_json, sha256, write_json
from appliance.hub import hubs as clients


def run_job(folder: Path, spec: dict[str, Any]) -> tuple[int, str]:
    """The worker's exit code and everything it printed or wrote, except the result."""
    write_json(folder / "job.json", {"id": folder.name, "kind": "download", "language": "en", "spec": spec})
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
