"""Bad input at each step, in both languages: what, why, next; exit code 1; nothing half-made."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from words import Said, appliance

LANGUAGES = ("en", "zh")
HAN = re.compile(r"[\u4e00-\u9fff]")


def told(said: Said, language: str) -> dict[str, str]:
    """What, why or problems, and next, in the language that was asked for."""
    assert said.code == 1, said
    error = said.json["error"]
    assert error["what"] and error["next"] and (error["why"] or error["problems"])
    assert bool(HAN.search(error["what"])) == (language == "zh"), error
    return error


def nothing_made(home: Path) -> None:
    assert not home.exists() or not [path for path in home.rglob("*") if path.is_file()], list(home.rglob("*"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tiny.write_rows(tmp_path / "rows.jsonl")


def without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def only_pickle(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def without_tokenizer(model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()


def without_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def cut_weights(model: Path) -> None:
    with (model / "model.safetensors").open("r+b") as file:
        file.truncate(1000)


def no_json(model: Path) -> None:
    (model / "config.json").write_text("{")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("spoil", "word"),
    [(without_weights, "safetensors"), (only_pickle, "pickle"), (without_tokenizer, "tokenizer"),
     (without_template, "chat_template"), (cut_weights, "model.safetensors"), (no_json, "config.json")],
)  # fmt: skip
def test_a_model_that_can_not_be_used(
    home: Path, shelf: Path, tmp_path: Path, rows: Path, spoil, word, language
) -> None:
    model = shutil.copytree(shelf / "base-float32", tmp_path / "model")
    spoil(model)
    for words in (("finetune", "--model", model, "--data", rows), ("serve", model)):
        error = told(appliance(*words, "--lang", language, "--json"), language)
        assert word in json.dumps(error, ensure_ascii=False).lower()
        nothing_made(home)
    plain = appliance("serve", model, "--lang", language)
    assert plain.code == 1 and error["what"][:12] in plain.err


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", b""), ("rows.jsonl", b"{not json"), ("rows.json", b"[1, 2"), ("rows.xyz", b"hello"),
     ("rows.jsonl", b'{"question": "", "answer": ""}\n')],
)  # fmt: skip
def test_data_that_can_not_be_used(home: Path, shelf: Path, tmp_path: Path, name, content, language) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for words in (("data", "check", path), ("finetune", "--model", shelf / "base-float32", "--data", path)):
        told(appliance(*words, "--lang", language, "--json"), language)
        nothing_made(home)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_there(home: Path, shelf: Path, tmp_path: Path, rows: Path, language: str) -> None:
    (tmp_path / "empty").mkdir()
    for words in (
        ("data", "check", tmp_path / "none.csv"),
        ("data", "check", tmp_path / "empty"),
        ("finetune", "--model", shelf / "base-float32", "--data", tmp_path / "none.csv"),
        ("finetune", "--model", "none", "--data", rows),
        ("plan", "--model", "none"),
        ("plan", "--model", tmp_path),
        ("merge", "none"),
        ("merge", tmp_path),
        ("serve", "none"),
    ):
        told(appliance(*words, "--lang", language, "--json"), language)
        nothing_made(home)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="drops to another user")
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_workspace_that_can_not_be_written(
    shelf: Path, tmp_path_factory: pytest.TempPathFactory, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user (uid 65534), who may read everything but the workspace is root's."""
    place = tmp_path_factory.mktemp("others")
    model = shutil.copytree(shelf / "base-float32", place / "model")
    rows = tiny.write_rows(place / "rows.jsonl")
    home = place / "home"
    home.mkdir(mode=0o755)
    subprocess.run(["chmod", "-R", "go+rX", place], check=True)
    for folder in place.parents[:-2]:  # where pytest keeps its folders, which are its owner's alone
        folder.chmod(folder.stat().st_mode | 0o055)
    monkeypatch.setenv("APPLIANCE_HOME", str(home))
    monkeypatch.setenv("HOME", "/nonexistent")
    other = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if subprocess.run([*other, sys.executable, "-c", "import appliance"], capture_output=True, cwd="/").returncode:
        pytest.skip("another user can't run this Python")
    # Only looked at: nothing may start before the workspace was found to be unwritable.
    for environment in ("train", "vllm"):
        (place / "envs" / environment / "bin").mkdir(parents=True)
        (place / "envs" / environment / "bin" / "python").touch()
    monkeypatch.setenv("APPLIANCE_ENVS", str(place / "envs"))
    for words in (
        ("finetune", "--model", model, "--data", rows),
        ("download", model),
        ("serve", model),
        ("run", recipe_of(place, model)),
    ):
        error = told(appliance(*words, "--lang", language, "--json", wrap=other, cwd="/"), language)
        assert str(home) in error["what"]
    assert list(home.iterdir()) == []
    for words in (("jobs", "list"), ("probe",), ("data", "check", rows), ("plan", "--model", model)):
        assert appliance(*words, "--lang", language, "--json", wrap=other, cwd="/").code == 0, words


def recipe_of(place: Path, model: Path) -> Path:
    path = place / "recipe.yaml"
    path.write_text(f"jobs:\n- finetune: {{model: {model}, data: rows.jsonl}}\n")
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("language", LANGUAGES)
def test_adapters_in_the_wrong_place(home: Path, shelf: Path, tmp_path: Path, language: str) -> None:
    adapter = shelf / "adapters" / "plain"
    words = ("merge", adapter, "--base", shelf / "base-float32", "--to", shelf)
    told(appliance(*words, "--lang", language, "--json"), language)
    said = appliance("serve", adapter, "--lang", language, "--json")
    assert said.code == 1 and said.json["error"]["next"]
    orphan = shutil.copytree(adapter, tmp_path / "orphan")
    config = json.loads((orphan / "adapter_config.json").read_text())
    (orphan / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "nobody/knows"}))
    error = told(appliance("merge", orphan, "--lang", language, "--json"), language)
    assert "nobody/knows" in error["why"] and "--base" in error["next"]
    nothing_made(home)
