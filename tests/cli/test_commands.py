"""Every command once, in a pipe: its exit code and its one JSON object."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import typer
from words import appliance

from appliance import cli
from appliance.jobs.folder import Job

EVERY_JOB = {"id", "kind", "state", "folder", "result"}


NO_HUBS = {"HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}


def test_the_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NO_HUBS.items():
        monkeypatch.setenv(name, value)
    probe = appliance("probe", "--json")
    assert probe.code == 0
    assert {"accelerators", "cpu", "disk_free_gib", "shm_gib", "driver", "warnings"} <= probe.json.keys()
    doctor = appliance("doctor", "--json")
    assert doctor.code == (0 if doctor.json["ok"] else 1)
    assert all(check["ok"] or check["fix"] for check in doctor.json["checks"])
    assert doctor.json["ok"] == all(check["level"] != "problem" for check in doctor.json["checks"])
    assert {check["name"]: check["level"] for check in doctor.json["checks"]}["hub"] == "note"
    assert appliance("--version").out.strip() == appliance("--version", "--json").json["version"]


def test_a_check_that_fails_fails_the_doctor(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"APPLIANCE_ENVS": str(tmp_path), **NO_HUBS}.items():
        monkeypatch.setenv(name, value)
    for words in (("doctor",), ("doctor", "--json")):
        assert appliance(*words).code == 1


def test_the_path_by_commands(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    checked = appliance("data", "check", rows, "--json")
    assert checked.code == 0 and checked.json["kept"] == 40 and checked.json["task"] == "sft"
    assert {"format", "rows", "dropped", "warnings", "encoding"} <= checked.json.keys()

    brought = appliance("download", shelf / "base-float32", "--json")
    assert brought.code == 0 and brought.json["state"] == "done" and brought.json.keys() >= EVERY_JOB
    assert "base-float32" in brought.err  # what happens is told beside the answer

    planned = appliance("plan", "--model", "base-float32", "--data", rows, "--json")
    assert planned.code == 0 and planned.json["verdict"] == "fits"
    assert {"profile", "method", "dtype", "micro_batch", "accumulation"} <= planned.json.keys()
    assert {"length", "memory", "reasons", "alternatives"} <= planned.json.keys()

    tuned = appliance("finetune", "--model", "base-float32", "--data", rows, "--steps", 3, "--held-out", 0.2, "--json")
    assert tuned.code == 0 and tuned.json["state"] == "done", tuned.err
    assert "No rows are held out" in tuned.err  # the file is too small, which is no secret
    adapter = Path(tuned.json["result"]["adapter"])
    assert (adapter / "adapter_model.safetensors").is_file()

    merged = appliance("merge", tuned.json["id"], "--to", "mine", "--json")
    assert merged.code == 0 and merged.json["result"]["model"] == str(home / "models" / "mine")

    served = appliance("serve", "mine", "--detach", "--json")
    assert served.code == 0 and served.json["state"] == "running", served.err
    assert {"address", "key_file", "engine", "model"} <= served.json.keys()
    assert served.json["address"].endswith("/v1") and served.json["model"] == "mine"
    key = Path(served.json["key_file"]).read_text().strip()
    assert key not in served.out + served.err
    request = urllib.request.Request(served.json["address"] + "/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["data"][0]["id"] == "mine"

    identity = served.json["id"]
    busy = appliance("jobs", "remove", identity, "--yes", "--json")
    assert busy.code == 1 and "still running" in busy.json["error"]["what"]
    assert appliance("jobs", "show", identity, "--json").json["address"] == served.json["address"]
    assert appliance("jobs", "logs", identity, "--json").json["lines"]
    stopped = appliance("jobs", "stop", identity, "--json")
    assert stopped.code == 0 and stopped.json["state"] == "stopped" and stopped.json["address"] is None

    listed = appliance("jobs", "list", "--json").json["jobs"]
    assert [job["kind"] for job in listed] == ["serve", "merge", "finetune", "download"]
    assert appliance("jobs", "list").out.count("\n") >= 4
    again = appliance("jobs", "resume", tuned.json["id"], "--json")
    assert again.code == 1 and "nothing to resume" in again.json["error"]["what"]
    unasked = appliance("jobs", "remove", identity, "--json")
    assert unasked.code == 2 and "--yes" in unasked.json["error"]["next"], unasked
    removed = appliance("jobs", "remove", identity, "--yes", "--json")
    assert removed.code == 0 and removed.json["freed_bytes"] > 0
    assert not Path(served.json["folder"]).exists()
    assert appliance("jobs", "show", identity).code == 1


def test_stop_and_resume_by_commands(home: Path, shelf: Path, tmp_path: Path) -> None:
    """Detached, stopped, resumed; a job that is stopped ends its watcher with 130."""
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    words = ("finetune", "--model", shelf / "base-float32", "--data", rows, "--steps", 100_000)
    started = appliance(*words, "--detach", "--json")
    assert started.code == 0 and started.json["state"] in ("queued", "running")
    assert appliance("jobs", "stop", "last").code == 0
    shown = appliance("jobs", "show", started.json["id"], "--json").json
    assert shown["state"] == "stopped"
    resumed = appliance("jobs", "resume", "last", "--detach", "--json")
    assert resumed.code == 0 and resumed.json["id"] == started.json["id"]
    assert appliance("jobs", "stop", "last", "--json").json["state"] == "stopped"
    assert Job(Path(shown["folder"])).state().attempt == 2
    assert appliance("jobs", "show", "last", "--follow").code == 0


def test_a_job_that_fails_is_exit_code_1(home: Path, shelf: Path, tmp_path: Path) -> None:
    """With --json the answer is still one object: the job, with its error."""
    broken = tmp_path / "base"
    shutil.copytree(shelf / "base-float32", broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "architectures": ["Nothing"], "model_type": "no-such"}))
    told = appliance("serve", broken, "--detach", "--json")
    assert told.code == 1 and told.json["state"] == "failed" and told.json["address"] is None, told
    assert told.json["error"]["what"] and told.json["error"]["next"]
    plain = appliance("jobs", "show", "last")
    assert told.json["error"]["what"][:20] in plain.err + plain.out


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "words",
    [
        ("nope",), ("finetune",), ("finetune", "--model", "x"), ("serve",), ("plan",), ("run",), ("jobs", "nope"),
        ("jobs", "show"), ("finetune", "--model", "x", "--data", "y", "--steps", "many"), ("probe", "--nope"),
        ("download", "a/b", "--source", "nowhere"), ("plan", "--model", "x", "--method", "magic"),
        ("finetune", "--model", "x", "--data", "y", "--map", "nonsense"), ("run", "there-is-none.yaml"),
    ],
)  # fmt: skip
def test_wrong_words_are_exit_code_2(home: Path, words: tuple[str, ...], language: str) -> None:
    for more in ((), ("--json",)):
        said = appliance(*words, "--lang", language, *more)
        assert said.code == 2, said
        assert said.err or said.json["error"]["what"]
    assert not (home / "jobs").exists()


def test_wrong_words_in_json(home: Path) -> None:
    """Also where the parser refuses the words, before or after it has seen --json; and all that is wrong at once."""
    for words in (("finetune", "--json"), ("nosuch", "--json"), ("jobs", "list", "--bogus", "--json")):
        said = appliance(*words)
        assert said.code == 2 and said.json["error"]["what"] and said.json["error"]["next"], said
    said = appliance("finetune", "-m", "m", "-d", "d", "--rank", 0, "--epochs", 0, "--method", "foo", "--json")
    assert said.code == 2 and len(said.json["error"]["problems"]) == 3, said


def test_a_closed_input_and_a_terminal_that_takes_only_some_letters(home: Path) -> None:
    shell = ("/bin/sh", "-c", '"$@" <&-', "sh")
    assert appliance("--lang", "zh", wrap=shell).code == 2
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert appliance("jobs", "list", "--lang", "zh", env=plain).code == 0


def test_every_command_and_option_is_explained() -> None:
    def silent(command: Any, path: str) -> Iterator[str]:
        yield from (f"{path} {word.opts[-1]}" for word in command.params if not getattr(word, "help", None))
        for name, inner in getattr(command, "commands", {}).items():
            yield from silent(inner, f"{path} {name}")
            if not inner.help:
                yield f"{path} {name}"

    assert list(silent(typer.main.get_command(cli.app), "appliance")) == []


def test_without_a_terminal_the_menu_is_exit_code_2(home: Path) -> None:
    assert appliance().code == appliance("--lang", "zh").code == 2
