"""A chat from the menu, in a real terminal and both languages; thumbs; what becomes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Menu  # type: ignore[attr-defined]
from screen import Screen
from workers import until

from appliance import settings
from appliance.data import feedback
from appliance.engines import keys
from appliance.jobs import control, prepare, process
from appliance.jobs.folder import Job, serving
from appliance.locale import _

ENTER, CTRL_D = "\r", "\x04"


@pytest.fixture
def server(workspace: Path) -> Iterator[Job]:
    job = control.submit(prepare.serve("tiny-base", name="tiny", port=8500, log_requests=True))
    until(job, lambda events: any(event["kind"] == "ready" for event in events))
    yield job
    control.stop(job)


def engine_of(server: Job) -> psutil.Process:
    found = map(psutil.Process, process.group_members(server.written_state().pid or 0))
    return next(one for one in found if "appliance.engines.transformers_server" in one.cmdline())


def rows() -> list[dict[str, Any]]:
    path = settings.feedback_file()
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def opened(menu: Menu, language: str) -> Screen:
    screen = menu(language)
    screen.keys("2", ENTER)
    screen.asks(_("Servers are running."), _("talk to {name}").format(name="tiny"), _("start another one"))
    screen.keys(ENTER)
    return screen.wait_for(
        _("/good and /bad judge the last answer, /reset begins anew, /quit ends. Ctrl-C stops an answer.")
    )


def test_a_chat_with_thumbs_and_what_becomes_of_them(menu: Menu, server: Job) -> None:
    screen = opened(menu, "zh")
    kept = _("Kept. Make a data set of it: appliance data from-feedback")
    screen.keys("/good", ENTER).wait_for(_("There is no answer to judge yet."))
    screen.keys("你好, 1 + 1?", ENTER, "/good", ENTER).wait_for(kept)
    assert [row["label"] for row in rows()] == [True]
    assert rows()[0]["prompt"] == [{"role": "user", "content": "你好, 1 + 1?"}]
    assert settings.feedback_file().stat().st_mode & 0o077 == 0
    screen.keys("/bad", ENTER)  # the last word counts
    screen.until(lambda: len(rows()) == 2, "the second thumb")
    screen.keys("/reset", ENTER).wait_for(_("Begun anew."))
    engine = engine_of(server)
    engine.suspend()  # or the answer might be over before it is stopped
    screen.keys("2 + 2?", ENTER).until(lambda: not screen.is_raw, "the answer")
    screen.interrupt().wait_for(_("Stopped."))
    engine.resume()
    until(server, lambda _events: serving(server)["address"] is not None)
    screen.keys("/quit", ENTER).waits_for_any_key()
    # From use to a better model: the thumbs are rows to learn from, with the last word on each answer.
    # (What the base model says may be nothing; one answer with words.)
    said = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    feedback.add(settings.feedback_file(), "tiny", said, True)
    screen.keys(" ").asks(_("What do you want to do?")).keys("3", ENTER)
    screen.asks(_("Which rows?"), _("a file")).pick(_("the thumbs up and down that were given in chats"))
    screen.asks(_("Which model should learn from it?"))
    assert (settings.datasets_folder() / "feedback.jsonl").exists()
    screen.interrupt().asks(_("What do you want to do?")).keys("q", ENTER)
    assert screen.end() == 0

    command = [sys.executable, "-m", "appliance"]
    made = json.loads(subprocess.run([*command, "data", "from-feedback", "--json"], capture_output=True).stdout)
    assert (made["rows"], made["good"], made["bad"]) == (2, 1, 1)

    # Through a pipe, by address, with the key of the job; and what was logged because it was asked for.
    at = serving(server)
    key = keys.read_key(Path(at["key_file"]))
    said = subprocess.run(
        [*command, "chat", at["address"]], input="1 + 2?\n/good\n/quit\n", capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert rows()[-1]["label"] is True
    control.stop(server)
    log = Path(at["log"])
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["key"] for row in logged} == {"default"} and key not in log.read_text()
    assert logged[-1]["messages"][0] == {"role": "user", "content": "1 + 2?"}
    refused = subprocess.run([*command, "chat"], capture_output=True, text=True)
    assert refused.returncode == 1 and "appliance serve" in refused.stderr
