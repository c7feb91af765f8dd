"""`appliance chat`, thumbs and `data from-feedback`; `appliance keys`. Against a real server, in a real terminal."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pexpect
import pytest
from words import run
from workers import until

from appliance import data, settings
from appliance.data import feedback
from appliance.engines import keys
from appliance.errors import ApplianceError, UsageError
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, serving


@pytest.fixture
def server(home: Path, shelf: Path) -> Job:
    draft = prepare.serve(str(shelf / "base-bfloat16"), name="tiny", port=8500, log_requests=True)
    job = control.submit(draft)
    until(job, lambda events: any(event["kind"] == "ready" for event in events))
    return job


def rows(home: Path) -> list[dict[str, object]]:
    path = settings.feedback_file()
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_chat_in_a_terminal_with_thumbs_and_what_becomes_of_them(home: Path, server: Job) -> None:
    environment = {**os.environ, "TERM": "xterm", "APPLIANCE_LANG": "zh", "LC_ALL": "C.UTF-8"}
    words = ["-m", "appliance", "chat"]
    with pexpect.spawn(
        sys.executable, words, env=environment, encoding="utf-8", timeout=60, dimensions=(30, 100)
    ) as screen:
        screen.expect("tiny")
        screen.expect(r"> ")
        screen.send("/good\r")  # nothing to judge yet
        screen.expect(r"> .*> ")
        screen.send("你好, 1 + 1?\r")
        screen.expect(r"\n> ", timeout=90)
        screen.send("/good\r")
        screen.expect("from-feedback")
        screen.send("/bad\r")  # the last word counts
        screen.expect("from-feedback")
        screen.send("/reset\r")
        screen.send("2 + 2?\r")
        screen.expect(r"2 \+ 2\?")
        screen.sendintr()  # stops the answer, or comes after it: the chat goes on, or ends clean
        screen.expect([r"> ", pexpect.EOF])
        if screen.isalive():
            screen.sendeof()
        screen.expect(pexpect.EOF)
    assert [row["label"] for row in rows(home)] == [True, False]
    assert rows(home)[0]["prompt"] == [{"role": "user", "content": "你好, 1 + 1?"}]
    assert settings.feedback_file().stat().st_mode & 0o077 == 0

    made = run("data", "from-feedback", "--json").json
    assert (made["rows"], made["good"], made["bad"]) == (1, 0, 1)
    report = data.check(Path(made["file"]))
    assert (report.task, report.kept) == ("kto", 1)

    # Through a pipe, by address, with the key of the job; and what was logged because it was asked for.
    at = serving(server)
    key = keys.read_key(Path(at["key_file"]))
    said = run("chat", at["address"], stdin="1 + 2?\n/good\n/quit\n")
    assert said.code == 0 and rows(home)[-1]["label"] is True
    control.stop(server)
    log = Path(at["log"])
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["key"] for row in logged} == {"default"} and key not in log.read_text()
    assert logged[-1]["messages"][0] == {"role": "user", "content": "1 + 2?"}
    refused = run("chat")
    assert refused.code == 1 and "appliance serve" in refused.error


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
