"""`appliance keys`; feedback and what is made of it; addresses to chat with. (The chat itself: tests/menu.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from words import appliance as run

from appliance import data, settings
from appliance.attend import show_address
from appliance.data import feedback
from appliance.errors import ApplianceError, UsageError
from appliance.jobs.folder import Job


def test_keys_are_listed_added_shown_once_and_revoked(home: Path) -> None:
    assert run("keys", "list", "--json").json == {"keys": []}
    made = run("keys", "add", "alice", "--json").json
    assert len(made["key"]) == 46 and made["key"].startswith("sk-")
    file = settings.keys_folder() / "alice.key"
    assert file.read_text().strip() == made["key"] and file.stat().st_mode & 0o777 == 0o600
    listed = run("keys", "list", "--json")
    assert [key["name"] for key in listed.json["keys"]] == ["alice"] and made["key"] not in listed.out
    assert run("keys", "add", "alice").code == 1
    assert run("keys", "add", "../alice").code == 2
    assert run("keys", "revoke", "alice").code == 0 and not file.exists()
    assert run("keys", "revoke", "alice").code == 1


def test_a_server_shows_its_new_key_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("sk-new\n")
    (tmp_path / "key").chmod(0o600)
    at = {"address": "http://127.0.0.1:1/v1", "model": "m", "key_file": str(tmp_path / "key"), "new_key": True}
    (tmp_path / "serving.json").write_text(json.dumps(at))
    seen = []
    for _time in range(2):
        show_address(Job(tmp_path))
        seen.append(capsys.readouterr().out)
    assert ["sk-new" in text for text in seen] == [True, False]


def test_feedback_rows(tmp_path: Path) -> None:
    path, to = tmp_path / "rows.jsonl", tmp_path / "kto.jsonl"
    with pytest.raises(ApplianceError, match="no feedback"):
        feedback.to_kto(path, to)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    feedback.add(path, "m", said, True)
    with path.open("ab") as file:
        file.write(b'{"torn": ')
    feedback.add(path, "n", [*said, *said], False)
    made = feedback.to_kto(path, to)
    assert (made["rows"], made["models"]) == (2, {"m": 1, "n": 1})
    report = data.check(to)
    assert (report.task, report.kept) == ("kto", 2)
    assert feedback.to_kto(path, to, "m")["rows"] == 1
    with pytest.raises(ApplianceError, match="for x"):
        feedback.to_kto(path, to, "x")


def test_control_characters_of_a_model_do_not_reach_the_terminal() -> None:
    from appliance.chat import _printable

    assert _printable("a\x1b[2J\x07你好\n\t\x00b\u202e") == "a[2J你好\n\tb"


def test_an_address_without_its_key_is_told(home: Path) -> None:
    from appliance.chat import at

    with pytest.raises(ApplianceError, match="reached"):
        at("http://127.0.0.1:9/v1")
    with pytest.raises((ApplianceError, UsageError)):
        at("no-such-job")
