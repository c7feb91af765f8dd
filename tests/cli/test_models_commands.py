"""`appliance models list|export|import|verify|remove` and `appliance settings token`, as a person types them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from words import Said, appliance

from appliance import settings
from appliance.hub import manifest


@pytest.fixture
def model(home: Path) -> Path:
    """As a download leaves it, with one tensor."""
    folder = home / "models" / "owner--tiny"
    folder.mkdir(parents=True)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\1" * 4000)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "tokenizer.json").write_text("{}")
    manifest.write(folder, source="huggingface", reference="owner/tiny", revision="c0ffee")
    return folder


def test_the_way_by_stick(model: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stick").mkdir()
    out = appliance("models", "export", "owner/tiny", "--to", tmp_path / "stick", "--json")
    assert out.code == 0 and out.json["result"]["exported"] == str(tmp_path / "stick" / "owner--tiny")
    packed = tmp_path / "stick" / "m.tar"
    assert appliance("models", "export", "owner--tiny", "--to", packed, "--json").json["state"] == "done"
    again = appliance("models", "export", "owner--tiny", "--to", packed, "--json")
    assert again.code == 1 and "there already" in again.json["error"]["what"]

    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "other"))
    brought = appliance("models", "import", packed, "--json")
    assert brought.code == 0 and brought.json["result"]["reference"] == "owner/tiny"
    assert appliance("models", "import", tmp_path / "stick" / "owner--tiny", "--to", "two", "--json").code == 0
    listed = appliance("models", "list", "--json").json["models"]
    assert [(entry["name"], entry["state"], entry["revision"]) for entry in listed] == [
        ("m", "whole", "c0ffee"),
        ("two", "whole", "c0ffee"),
    ]
    assert appliance("models", "--family", "phi", "--json").json["here"] == listed
    assert "two" in appliance("models", "--family", "phi").out

    checked = appliance("models", "verify", "--json")
    assert checked.code == 0 and checked.json["result"]["models"] == ["m", "two"]
    (tmp_path / "other" / "models" / "two" / "config.json").write_text('{"model_type": "qwen2"}')
    bad = appliance("models", "verify", "two", "--json")
    assert bad.code == 1 and "two: config.json" in bad.json["error"]["problems"][0]
    assert f"models import {tmp_path}" in bad.json["error"]["next"]
    plain = appliance("models", "list", "--lang", "en")
    assert "damaged" in plain.out and "appliance models import" in " ".join(plain.out.split())
    mended = appliance("models", "import", tmp_path / "stick" / "owner--tiny", "--to", "two", "--json")
    assert mended.code == 0 and "config.json" in mended.err
    assert [entry["state"] for entry in appliance("models", "list", "--json").json["models"]] == ["whole", "whole"]

    packed.write_bytes(packed.read_bytes().replace(b"\1" * 4000, b"\1" * 3999 + b"\2"))
    tampered = appliance("models", "import", packed, "--to", "three", "--json")
    assert tampered.code == 1 and "model.safetensors" in tampered.json["error"]["problems"][0]
    assert sorted(path.name for path in (tmp_path / "other" / "models").iterdir()) == ["m", "two"]


def test_remove_asks(model: Path) -> None:
    nobody = appliance("models", "remove", "owner/tiny", "--lang", "en")
    assert nobody.code == 2 and "--yes" in nobody.err and model.is_dir()
    command = [sys.executable, "-m", "appliance", "models", "remove", "owner/tiny", "--lang", "en"]
    for answer, left in (("\r", True), ("\x1b[A\r", False)):
        person = pexpect.spawn(command[0], command[1:], encoding="utf-8", dimensions=(24, 80), timeout=120)
        person.expect("Delete owner--tiny.*kB get free")
        person.expect("no")
        person.send(answer)
        person.expect(pexpect.EOF)
        person.wait()
        assert model.is_dir() == left and person.exitstatus == (130 if left else 0)
    gone = appliance("models", "remove", "owner/tiny", "--yes", "--json")
    assert gone.code == 1 and gone.json["error"]["next"]


def test_remove_in_json(model: Path) -> None:
    said = appliance("models", "remove", "owner--tiny", "--yes", "--json")
    assert said.code == 0 and said.json["freed_bytes"] > 4000 and not model.exists()


@pytest.mark.parametrize("words", [("verify",), ("verify", "x"), ("export", "x", "--to", "y"), ("import", "/no/where")])
def test_nothing_of_the_kind(home: Path, words: tuple[str, ...]) -> None:
    said = appliance("models", *words, "--json")
    assert said.code == 1 and said.json["error"]["what"] and said.json["error"]["next"]
    assert appliance("models", "list", "--json").json == {"models": []} and not (home / "models").exists()


def token(*words: str, given: str = "") -> Said:
    command = [sys.executable, "-m", "appliance", "settings", "token", *words, "--lang", "en"]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def test_a_token_from_the_input(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = token("huggingface", given="hf_secret\n")
    assert (
        said.code == 0 and "hf_secret" not in said.out + said.err and settings.hub_token("huggingface") == "hf_secret"
    )
    (file,) = (path for path in home.rglob("*") if path.is_file())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token("huggingface", "--json", given="").code == 1 and settings.hub_token("huggingface") == "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "outside")
    assert "HF_TOKEN is set" in (said := token("huggingface", given="hf_other")).out + said.err
    assert token("huggingface", "--remove").code == 0 and not settings.stored_token("huggingface")
    assert token("nowhere", given="x").code == 2 and token(given="x").code == 2


def test_a_token_typed_unseen(home: Path) -> None:
    words = ["-m", "appliance", "settings", "token", "modelscope", "--lang", "en"]
    person = pexpect.spawn(sys.executable, words, encoding="utf-8", dimensions=(24, 80), timeout=120)
    person.expect("Your token for ModelScope:")
    person.send("two words\r")
    person.expect("This is no token")
    person.send("\x15ms-secret\r")
    person.expect("Stored")
    person.expect(pexpect.EOF)
    person.wait()
    assert person.exitstatus == 0 and settings.hub_token("modelscope") == "ms-secret"
    assert "ms-secret" not in str(person.before)
