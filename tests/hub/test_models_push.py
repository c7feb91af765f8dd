"""Models and adapters pushed to both hubs: private unless said, nothing is sent twice, the token unseen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_hub import COMMIT, FakeHub, Pushed
from model_files import model_files, write
from test_download_job import run_job

from appliance.errors import UsageError
from appliance.files import read_json, write_json
from appliance.hub import manifest, push, tokens
from appliance.jobs import models

SECRET = "hf_secret0123456789"
PLACE = "me/my.model"
SHORT = {"huggingface": "hf", "modelscope": "modelscope"}
KEPT_HERE = {"trained-answers.json": b"[]", "appliance-adapter.json": b"{}", "run.py": b"x", ".hidden.json": b"{}"}


@pytest.fixture
def model(workspace: Path) -> Path:
    folder = workspace / "models" / "merged"
    write(folder, {**model_files(), **KEPT_HERE})
    manifest.write(folder, source="merge", reference="job", revision=None)
    return folder


@pytest.fixture(params=["huggingface", "modelscope"])
def hub(request: pytest.FixtureRequest, hubs: dict[str, FakeHub]) -> FakeHub:
    tokens.store(request.param, SECRET)
    found = hubs[request.param]
    found.token, found.name = SECRET, request.param  # type: ignore[attr-defined]
    return found


def pushed(folder: Path, hub: Any, job: Path, **changes: Any) -> tuple[int, str, dict[str, Any]]:
    draft = models.push(str(folder), f"{SHORT[hub.name]}:{PLACE}", **changes)
    return send(draft.spec, job)


def send(spec: dict[str, Any], job: Path) -> tuple[int, str, dict[str, Any]]:
    write_json(job / "spec.json", spec)
    code, said = run_job(job, spec, "push")
    assert SECRET not in said + "".join(path.read_text() for path in job.iterdir())
    return code, said, read_json(job / "result.json") if code == 0 else read_json(job / "state.json")["error"]


def test_a_model_goes_whole_and_unseen_by_others(model: Path, hub: Any, tmp_path: Path) -> None:
    hub.cut_uploads = 20
    code, said, error = pushed(model, hub, tmp_path / "first")
    assert code == 1 and error["what"] and error["next"], said
    assert hub.pushed[PLACE].private and hub.uploads == []
    hub.cut_after = 1  # the next try gets half of it there, the one after that only sends the rest
    assert pushed(model, hub, tmp_path / "half")[0] == 1 and len(hub.uploads) == 1
    hub.cut_uploads = 0
    code, said, result = pushed(model, hub, tmp_path / "second")
    assert code == 0, said
    shards = {path.stat().st_size for path in model.glob("*.safetensors")}
    assert shards < set(hub.uploads) and len(hub.uploads) == len(shards) + 1, hub.uploads  # each of them once
    there = hub.pushed[PLACE]
    files = [path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()]
    sent = {name for name in files if not name.endswith((".py", ".bin"))} - KEPT_HERE.keys() - {manifest.NAME}
    assert there.private and there.files == {n: (model / n).read_bytes() for n in sent}
    assert result["private"] and result["files"] == len(sent) and result["revision"] == COMMIT
    assert result["pushed"] == f"{hub.name}:{PLACE}" and result["page"].endswith(PLACE)
    steps = [json.loads(line) for line in (tmp_path / "second" / "events.jsonl").read_text().splitlines()]
    assert [one for one in steps if one["kind"] == "progress"][-1]["done"] == result["bytes"]
    # Once more: nothing large is sent, nothing is committed twice.
    uploads = list(hub.uploads)
    code, said, _result = pushed(model, hub, tmp_path / "third")
    assert code == 0 and hub.uploads == uploads, said


def test_what_is_refused(model: Path, hub: Any, tmp_path: Path) -> None:
    spec = models.push(str(model), f"{SHORT[hub.name]}:{PLACE}").spec
    hub.pushed[PLACE] = Pushed(private=False)
    assert "everyone" in send(spec, tmp_path / "public")[2]["what"]
    hub.pushed[PLACE] = Pushed(private=True, files={"model.safetensors": b"another"})
    assert "Another model" in send(spec, tmp_path / "other")[2]["what"]
    hub.pushed.clear()
    hub.token = "hf_writer"
    code, said, error = send(spec, tmp_path / "reader")
    assert code == 1 and error["token_for"] == [hub.name], said
    shard = next(model.glob("*.safetensors"))
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    assert "damaged" in send(spec, tmp_path / "damaged")[2]["what"] and not hub.pushed
    tokens.forget(hub.name)
    assert send(spec, tmp_path / "stranger")[2]["token_for"] == [hub.name] and not hub.pushed


def test_an_adapter_for_everyone(tmp_path: Path, hub: Any) -> None:
    adapter = tmp_path / "adapter"
    write(adapter, {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights", **KEPT_HERE})
    code, said, result = pushed(adapter, hub, tmp_path / "job", public=True)
    assert code == 0 and not result["private"] and result["adapter"] == str(adapter), said
    assert not hub.pushed[PLACE].private
    assert set(hub.pushed[PLACE].files) - {"README.md"} == {"adapter_config.json", "adapter_model.safetensors"}


def test_public_only_after_a_yes(model: Path, hub: Any) -> None:
    words = ["models", "push", "merged", "--to", f"{SHORT[hub.name]}:{PLACE}", "--public", "--json"]
    command = [sys.executable, "-m", "appliance", *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "--yes" in done.stdout and not hub.pushed
    done = subprocess.run([*command, "--yes"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and not json.loads(done.stdout)["result"]["private"], done.stdout
    assert SECRET not in done.stdout + done.stderr and not hub.pushed[PLACE].private


@pytest.mark.parametrize("to", ["", "hf:", "hf:me", "github:me/x", "hf:me/../x", "hf:me/x/y", "me/x", "hf:me/x?y"])
def test_no_place(to: str) -> None:
    with pytest.raises(UsageError):
        push.parse(to)
