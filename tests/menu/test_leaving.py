"""Ctrl-C, a closed window, another language, another size: the menu stays whole and so do the jobs."""

from __future__ import annotations

import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Menu, at_first_screen
from screen import CTRL_C, DOWN, ENTER, ESCAPE, UP, Screen, squeezed
from workers import ended

from appliance import locale, settings
from appliance.engines.keys import everyone, read_key
from appliance.jobs import control, folder, prepare
from appliance.jobs.folder import Job
from appliance.locale import _

BAR = "━━━━"


@pytest.fixture
def long_job(workspace: Path, rows: Path) -> Iterator[Job]:
    """A fine-tune that no test sees the end of."""
    wish = {"steps": 1_000_000, "batch": 1}
    yield control.submit(prepare.finetune(str(workspace / "models" / "tiny-base"), str(rows), wish=wish))


def questions_of(entry: str, workspace: Path, shelf: Path, rows: Path) -> list[list[tuple[str, list[str]]]]:
    """Every way through an entry as (question, keys that answer it); Ctrl-C is tried at each question of each."""
    start: tuple[str, list[str]] = (_("Start?"), [])
    data = (_("Your data file (Excel, CSV, JSON, text):"), [str(rows), ENTER])
    learn = (_("Which model should learn from it?"), [ENTER])
    return {
        "g": [[data, (learn[0], [ENTER]), start]],
        "1": [
            [
                (_("Where is the model?"), [UP, UP, ENTER]),
                (_("Folder or archive:"), [str(shelf / "base-float32"), ENTER]),
                start,
            ],
            [(_("Where is the model?"), [ENTER]), (_("Which model?"), [UP, ENTER]), (_("owner/name:"), [])],
            [
                (_("Where is the model?"), [UP, ENTER]),
                (_("Which one?"), [ENTER]),
                (_("What now?"), [DOWN, ENTER]),
                (_("To where? A folder (such as the stick's), or NAME.tar:"), [str(rows.parent), ENTER]),
                start,
            ],
            [
                (_("Where is the model?"), [UP, ENTER]),
                (_("Which one?"), [ENTER]),
                (_("What now?"), [DOWN, DOWN, ENTER]),
                (_("To which hub?"), [ENTER]),
                (_("Your name there and a name for it (owner/name):"), ["me/mine", ENTER]),
                (_("Who may see it?"), []),
            ],
            [
                (_("Where is the model?"), [UP, ENTER]),
                (_("Which one?"), [ENTER]),
                (_("What now?"), [DOWN, DOWN, DOWN, ENTER]),
                (_("Delete {name}? {size} get free.").split("{")[0], []),
            ],
        ],
        "2": [
            [
                (_("Which model should answer?"), [ENTER]),
                (_("Who may ask it?"), [ENTER]),
                (_("Start?"), [UP, UP, ENTER]),
                (_("Port:"), [ENTER]),
                (_("Name that clients use (empty: the model's own):"), [ENTER]),
                (_("Engine:"), [ENTER]),
                (_("A chat page for the browser as well?"), [ENTER]),
                start,
            ],
            [(_("Which model should answer?"), [UP, ENTER]), (_("Folder or owner/name:"), [])],
        ],
        "3": [
            [
                data,
                learn,
                (_("Start?"), [UP, UP, ENTER]),
                (_("How should it learn from the rows?"), [ENTER]),
                (_("Method:"), [ENTER]),
                (_("Rank:"), [ENTER]),
                (_("Longest row, in tokens:"), [ENTER]),
                (_("Rows at once:"), [ENTER]),
                (_("Passes over the rows:"), [ENTER]),
                (_("Learning rate:"), [ENTER]),
                (_("Switched on:"), [ENTER]),
                (_("Where can its figures be followed, besides TensorBoard?"), [ENTER]),
                start,
            ]
        ],
        "4": [
            [
                (_("Which adapter?"), [ENTER]),
                (_("Folder of the adapter:"), [str(shelf / "adapters" / "plain"), ENTER]),
                start,
            ]
        ],
        "5": [
            [
                (_("Which job?"), [ENTER]),
                (_("What now?"), [UP, UP, ENTER]),
                (_("Delete {id} with all it made ({size})?").split("{")[0], []),
            ]
        ],
        "6": [
            [(_("Which setting?"), [ENTER]), ("语言 / Language", [])],
            [(_("Which setting?"), ["\x1b[B", ENTER]), (_("Where should models come from?"), [])],
            [
                (_("Which setting?"), [DOWN, DOWN, ENTER]),
                (_("What now?"), [ENTER]),
                (_("Your token for {hub}:").format(hub="Hugging Face"), []),
            ],
            [
                (_("Which setting?"), [DOWN, DOWN, DOWN, DOWN, ENTER]),
                (_("Whose key?"), [ENTER]),
                (_("Whose is it to be?"), []),
            ],
        ],
        # Without a card no scheme suits, so one is asked for.
        "8": [[(_("Which model?"), [ENTER]), data, (_("Which scheme?"), [ENTER]), start]],
    }[entry]


@pytest.mark.parametrize(("entry", "language"), [(key, "en") for key in "g1234568"] + [("3", "zh"), ("5", "zh")])
def test_ctrl_c_at_every_question_leads_back(
    menu: Menu, workspace: Path, shelf: Path, rows: Path, entry: str, language: str
) -> None:
    if entry == "5":
        assert ended(control.submit(prepare.download(str(shelf / "base-bfloat16")))).state == "done"
    before = [job.id for job in folder.all_jobs()]
    screen = menu(language)
    for way in questions_of(entry, workspace, shelf, rows):
        for last in range(len(way)):
            screen.keys(entry, ENTER)
            for question, pressed in way[:last]:
                screen.asks(question).keys(*pressed)
            screen.asks(way[last][0]).interrupt()
            at_first_screen(screen)
    assert [job.id for job in folder.all_jobs()] == before
    assert settings.saved() == {}
    assert not screen.too_wide()
    screen.interrupt()
    assert screen.end() == 130


def test_escape_goes_back_but_does_not_leave(menu: Menu, tmp_path: Path) -> None:
    """At a list, at a line of text and at the end of a screen; arrow keys begin with the same character."""
    screen = menu()
    screen.keys("7", ENTER).asks(_("What about your data?"), "Esc").keys(DOWN, UP).keys(ESCAPE)
    at_first_screen(screen).keys("7", ENTER).asks(_("What about your data?")).keys(ENTER)
    screen.asks(_("Your data file (Excel, CSV, JSON, text):"), "Esc").keys(str(tmp_path), ESCAPE)
    at_first_screen(screen).keys("5", ENTER).waits_for_any_key().keys(ESCAPE)
    at_first_screen(screen).keys(ESCAPE).pick(_("Settings · 中文 / English")).asks(_("Which setting?")).keys(ESCAPE)
    at_first_screen(screen).keys("q", ENTER)
    assert screen.end() == 0


def test_a_number_that_no_training_has_is_refused_where_it_is_typed(menu: Menu, workspace: Path, rows: Path) -> None:
    screen = menu("zh")
    screen.keys("3", ENTER).asks(_("Your data file (Excel, CSV, JSON, text):")).keys(str(rows), ENTER)
    screen.asks(_("Which model should learn from it?")).pick("tiny-base").asks(_("Start?")).pick(_("advanced"))
    screen.asks(_("How should it learn from the rows?"), "GRPO").keys(ENTER)
    screen.asks(_("Method:"), "QLoRA", _("all weights")).keys(ENTER).asks(_("Rank:"))
    problem = _("must be a number from {least} to {most}, not {given}")
    for wrong in (0, 99999):
        screen.keys("\x15", str(wrong), ENTER).wait_for(problem.format(least=1, most=4096, given=wrong))
    screen.keys("\x15", "4", ENTER).asks(_("Longest row, in tokens:"))
    assert not screen.too_wide() and not screen.english()


def test_ctrl_c_at_the_end_of_a_screen_leads_back(menu: Menu) -> None:
    screen = menu()
    for entry in ("5", "6"):
        screen.keys(entry, ENTER)
        if entry == "6":
            screen.asks(_("Which setting?")).pick(_("Workspace: {home} (APPLIANCE_HOME)").split("{")[0])
        screen.waits_for_any_key().interrupt()
        at_first_screen(screen)


@pytest.mark.parametrize("key", [CTRL_C, "q\r"])
def test_afterwards_the_terminal_is_as_it_was(home: Path, key: str) -> None:
    words = f"{sys.executable} -P -m appliance; echo code $?; stty -a; cat"
    screen = Screen(home, command=["/bin/sh", "-c", words])
    locale.set_language("en")
    before = termios.tcgetattr(screen.child.child_fd)
    at_first_screen(screen).keys(key).wait_for(f"code {130 if key == CTRL_C else 0}").wait_for("echoke")
    assert termios.tcgetattr(screen.child.child_fd) == before
    assert {"icanon", "echo", "isig", "opost"} <= set(screen.text.split())
    assert not screen.cursor_hidden
    screen.keys("typed\r").wait_for("typed\ntyped")
    screen.close()


def test_ctrl_c_between_two_questions_ends_without_a_traceback(home: Path) -> None:
    program = (
        "import os, signal, sys, appliance.hardware\n"
        "appliance.hardware.probe = lambda home: os.kill(os.getpid(), signal.SIGINT)\n"
        "from appliance.menu import open_menu\n"
        "sys.exit(open_menu())"
    )
    screen = Screen(home, command=[sys.executable, "-P", "-c", program])
    before = termios.tcgetattr(screen.child.child_fd)
    assert screen.end() == 130
    assert termios.tcgetattr(screen.child.child_fd) == before
    assert not any("Traceback" in line for line in screen.seen)


def test_ctrl_c_while_watching(menu: Menu, long_job: Job) -> None:
    screen = menu()
    choices = (_("leave it running"), _("go on watching"), _("stop it"))

    def watch() -> None:
        screen.keys("5", ENTER).asks(_("Which job?")).keys(ENTER).asks(_("What now?")).pick(_("watch"))
        screen.wait_for(BAR)

    watch()
    screen.interrupt().asks(_("The job is still running."), *choices).pick(_("go on watching")).wait_for(BAR)
    # Keys that nobody asked for are not seen and answer nothing.
    screen.keys("xyzzy", ENTER, ENTER)
    screen.interrupt().asks(_("The job is still running."), *choices)
    assert not any("xyzzy" in line for line in screen.seen)
    screen.interrupt().wait_for(_("The job goes on: appliance jobs show {id}").format(id=long_job.id))
    screen.waits_for_any_key().keys(" ")
    at_first_screen(screen)
    assert long_job.state().state == "running"

    watch()
    screen.interrupt().asks(_("The job is still running."), *choices).pick(_("leave it running"))
    screen.waits_for_any_key().keys(" ")
    at_first_screen(screen)
    assert long_job.state().state == "running"

    # Another menu on the same workspace, whose window is closed while it watches.
    other = menu()
    other.keys("5", ENTER).asks(_("Which job?")).keys(ENTER).asks(_("What now?")).pick(_("watch")).wait_for(BAR)
    other.child.kill(signal.SIGHUP)
    other.end()
    assert long_job.state().state == "running"

    watch()
    screen.interrupt().asks(_("The job is still running."), *choices).pick(_("stop it"))
    screen.waits_for_any_key().keys(" ")
    assert long_job.state().state == "stopped"
    at_first_screen(screen)

    # Resumed, and the menu left.
    screen.keys("5", ENTER).asks(_("Which job?")).keys(ENTER)
    screen.asks(_("What now?"), _("resume: go on from the last good state"), _("remove")).keys(ENTER)
    screen.wait_for(BAR).interrupt().asks(_("The job is still running.")).interrupt().waits_for_any_key().keys(" ")
    at_first_screen(screen).keys("q", ENTER)
    assert screen.end() == 0
    assert long_job.state().state == "running" and long_job.state().attempt == 2
    assert squeezed(_("Jobs that go on: {n} (appliance jobs list)").format(n=1)) in squeezed("".join(screen.seen))


def test_the_menu_goes_on_where_a_container_would_end(home: Path, long_job: Job) -> None:
    screen = Screen(home, env={"APPLIANCE_CONTAINER": "1"})
    at_first_screen(screen).keys("q", ENTER)
    question = _("Jobs still running: {n}. Leaving ends this container.").format(n=1)
    screen.asks(question, _("stay"), _("save, stop them and leave")).interrupt()
    at_first_screen(screen).keys("q", ENTER)
    screen.asks(question).pick(_("save, stop them and leave"))
    assert screen.end() == 0
    assert long_job.state().state == "stopped"


def test_the_language_changes_at_once_and_for_the_next_time(menu: Menu, home: Path) -> None:
    screen = menu("zh")
    screen.keys("6", ENTER).asks(_("Which setting?"), "语言 / Language: 中文").keys(ENTER)
    screen.asks("语言 / Language", "中文", "English").pick("English")
    locale.set_language("en")
    screen.wait_for(_("Saved.")).waits_for_any_key().keys(" ")
    at_first_screen(screen)
    assert settings.saved() == {"language": "en"}
    again = Screen(home, "zh")
    at_first_screen(again)
    again.close()


def test_where_models_come_from_is_kept(menu: Menu) -> None:
    screen = menu()
    screen.keys("6", ENTER).asks(_("Which setting?")).pick(_("Where models come from: {source}").split("{")[0])
    screen.asks(_("Where should models come from?")).pick("ModelScope").waits_for_any_key().keys(" ")
    screen.asks(_("What do you want to do?")).keys("1", ENTER).asks(_("Where is the model?"))
    assert squeezed(_("at ModelScope")) in squeezed(screen.pointed())


def test_a_key_is_made_shown_once_and_revoked(menu: Menu) -> None:
    screen = menu()
    entry = _("Keys for the servers: {n}").split("{")[0]
    once = _("Running servers take it already. It is not shown again.")
    screen.keys("6", ENTER).asks(_("Which setting?")).pick(entry).asks(_("Whose key?")).pick(_("a new one"))
    screen.asks(_("Whose is it to be?")).keys("li", ENTER).wait_for(once)
    screen.waits_for_any_key()
    key = read_key(settings.keys_folder() / "li.key")
    assert key in screen.text
    screen.keys(" ")
    at_first_screen(screen).keys("6", ENTER).asks(_("Which setting?")).pick(entry)
    screen.asks(_("Whose key?"), "li").pick("li").asks(_("Revoke it? Then it opens nothing any more."))
    assert key not in screen.text
    screen.pick(_("yes")).wait_for(_("{name} opens nothing any more.").format(name="li"))
    assert everyone() == []


def test_another_size_while_a_question_is_open(menu: Menu) -> None:
    screen = menu()
    for columns, lines in ((120, 40), (60, 20), (30, 8), (80, 24)):
        screen.resize(columns, lines)
        screen.keys("6").until(lambda: "6)" in screen.pointed(), "the pointer at 6")
        screen.keys("1").until(lambda: "1)" in screen.pointed(), "the pointer at 1")
    screen.keys(ENTER).asks(_("Where is the model?"), _("on this machine: a folder or an archive"))
    assert not any("Traceback" in line for line in screen.seen)
    screen.interrupt()
    at_first_screen(screen).interrupt()
    assert screen.end() == 130


def test_back_is_back_everywhere(menu: Menu, workspace: Path, shelf: Path) -> None:
    assert ended(control.submit(prepare.download(str(shelf / "base-bfloat16")))).state == "done"
    screen = menu()
    start = (_("Start?"), _("back"))
    ways = {
        "1": [(_("Where is the model?"), _("at ModelScope")), (_("Which model?"), "Qwen/Qwen3-0.6B"), start],
        "2": [(_("Which model should answer?"), "Qwen/Qwen3-0.6B"), start],
        "4": [(_("Which adapter?"), _("another: a folder")), (_("Folder of the adapter:"), ""), start],
        "5": [(_("Which job?"), _("back"))],
        "6": [(_("Which setting?"), _("back"))],
    }
    for entry, way in ways.items():
        screen.keys(entry, ENTER)
        for question, choice in way:
            screen.asks(question)
            screen.pick(choice) if choice else screen.keys(str(shelf / "adapters" / "plain"), ENTER)
        screen.waits_for_any_key()
        assert _("what") not in [line.split(" ")[0] for line in screen.lines], screen.text
        screen.keys(" ")
        at_first_screen(screen)
    assert len(folder.all_jobs()) == 1 and settings.saved() == {}
