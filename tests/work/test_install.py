"""The install job: an environment from a lock with hashes, whole or not at all; from a folder of wheels, no network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from workers import done, ended, until

from appliance import engines, settings
from appliance.engines.vllm import Vllm
from appliance.errors import ApplianceError, UsageError
from appliance.jobs import control, prepare

PADDING = 3_000_000


def wheel(folder: Path, name: str) -> str:
    """A wheel of nothing but a module and some bytes; its line for a lock."""
    path = folder / f"{name}-0.32.0-py3-none-any.whl"
    info = f"{name}-0.32.0.dist-info"
    parts = {
        f"{name}/__init__.py": b"", f"{name}/padding": os.urandom(PADDING),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }  # fmt: skip
    record = ""
    for part, content in parts.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{part},sha256={digest},{len(content)}\n"
    parts[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(path, "w") as made:
        for part, content in parts.items():
            made.writestr(part, content)
    return f"{name}==0.32.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def lock(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of our code whose lock for vLLM names our own wheel, with the real uv."""
    root, wheels = tmp_path / "root", tmp_path / "wheels"
    (root / "requirements").mkdir(parents=True)
    wheels.mkdir()
    shutil.copytree(settings.CODE_ROOT / "appliance", root / "appliance", ignore=shutil.ignore_patterns("__pycache__"))
    lock = root / "requirements" / "vllm.lock"
    lock.write_text(wheel(wheels, "vllm"))
    environments = tmp_path / "envs"
    environments.mkdir()
    (environments / "uv").symlink_to(settings.environments_folder() / "uv")
    monkeypatch.setenv("APPLIANCE_ENVS", str(environments))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setattr(settings, "CODE_ROOT", root)
    monkeypatch.setattr(Vllm, "disk_gib", 0.01)
    yield lock


def test_installed_whole_and_found(lock: Path) -> None:
    engine = engines.by_name("vllm")
    assert not engines.is_installed(engine)
    draft = prepare.install("vllm")
    assert draft.command == "appliance install vllm" and "3.7 GiB" in dict(draft.facts)["Time"]
    made = done(control.submit(draft))
    python = settings.python_of("vllm")
    assert engines.is_installed(engine) and python == settings.engines_folder() / "vllm" / "bin" / "python"
    assert made["lock"] == hashlib.sha256(lock.read_bytes()).hexdigest() and made["bytes"] > PADDING
    told = subprocess.run([python, "-c", "import vllm, appliance.engines.guard; print('ok')"], capture_output=True,
                          text=True, env=settings.child_environment())  # fmt: skip
    assert told.stdout == "ok\n", told.stderr
    assert json.loads((settings.engines_folder() / "vllm" / "installed.json").read_text())["engine"] == "vllm"
    # Nothing half-made is left, and a second one takes the first one's place.
    assert {each.name for each in settings.engines_folder().iterdir()} == {"vllm", ".vllm.lock"}
    assert done(control.submit(prepare.install("vllm")))["bytes"] > PADDING


def test_another_file_under_the_same_name_is_refused(lock: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "vllm")
    job = control.submit(prepare.install("vllm"))
    state = ended(job)
    assert state.state == "failed" and state.error
    assert "hash" in state.error["why"].lower() and f"appliance jobs resume {job.id}" in state.error["next"]
    assert not engines.is_installed(engines.by_name("vllm"))


# Does what uv does, but does not end once the packages stand there.
UV = """#!/bin/sh
"{uv}" "$@"
[ "$1" != pip ] || {{ touch "{reached}"; exec sleep 600; }}
"""


def test_killed_in_the_middle_and_resumed(lock: Path, tmp_path: Path) -> None:
    real, ours, reached = settings.environments_folder() / "uv", tmp_path / "uv", tmp_path / "reached"
    (ours / "bin").mkdir(parents=True)
    (ours / "bin" / "uv").write_text(UV.format(uv=real.resolve() / "bin" / "uv", reached=reached))
    (ours / "bin" / "uv").chmod(0o755)
    kept = real.rename(real.with_name("real"))
    ours.rename(real)
    job = control.submit(prepare.install("vllm"))
    until(job, lambda _events: reached.exists())
    os.kill(job.state().pid, signal.SIGKILL)
    assert ended(job).state == "failed"
    assert not (settings.engines_folder() / "vllm").exists()
    real.rename(ours)
    kept.rename(real)
    control.resume(job)
    assert done(job)["engine"] == "vllm" and engines.is_installed(engines.by_name("vllm"))


def test_what_quantises_is_installed_the_same_way(
    lock: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = lock.parent / "quantize.lock"
    named.write_text(wheel(tmp_path / "wheels", "llmcompressor"))
    (lock.parent / "torch-cpu.txt").write_text(wheel(tmp_path / "wheels", "torch"))
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(engines.NotInstalled) as missing:
        prepare.quantize(str(shelf / "base-bfloat16"), str(rows), scheme="fp8")
    assert "appliance install quantize" in missing.value.next_step
    assert done(control.submit(prepare.install(missing.value.name)))["bytes"] > 2 * PADDING
    assert settings.python_of("quantize") == settings.engines_folder() / "quantize" / "bin" / "python"
    assert prepare.quantize(str(shelf / "base-bfloat16"), str(rows), scheme="fp8").environment == "quantize"


def test_no_room_and_no_such_engine(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vllm, "disk_gib", 1e6)
    with pytest.raises(ApplianceError, match="disk space"):
        control.submit(prepare.install("vllm"))
    with pytest.raises(UsageError, match="always there"):
        prepare.install("transformers")
