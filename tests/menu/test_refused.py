"""Where the menu can't open, and what it says to files that are no good: what, why, next step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Menu, at_first_screen
from screen import ENTER, Screen, squeezed

from appliance import locale
from appliance.jobs import folder
from appliance.locale import _

COMMAND = [sys.executable, "-P", "-m", "appliance"]


def told(screen: Screen) -> list[str]:
    """The labels of the error on the screen."""
    return [label for label in (_("what"), _("why"), _("next")) if any(line.startswith(label) for line in screen.lines)]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_small_terminal(home: Path, language: str) -> None:
    locale.set_language(language)
    screen = Screen(home, language, columns=40, lines=10)
    assert screen.end() == 1
    assert told(screen) == [_("what"), _("why"), _("next")]
    assert "40×10" in screen.flat and "60×20" in screen.flat and squeezed("appliance --help") in screen.flat
    assert not screen.too_wide() and not home.exists()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_terminal(home: Path, language: str) -> None:
    locale.set_language(language)
    done = subprocess.run(
        [*COMMAND, "--lang", language], input="", capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 2
    assert not done.stdout and "Traceback" not in done.stderr
    assert "appliance run RECIPE.yaml" in done.stderr and "-it" in done.stderr
    assert [label for label in (_("what"), _("why"), _("next")) if f"{label} " in done.stderr]
    assert not home.exists()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_workspace_that_is_not_mine(home: Path, unprivileged: list[str], language: str) -> None:
    locale.set_language(language)
    home.mkdir(mode=0o555)
    screen = Screen(home, language, command=[*unprivileged, *COMMAND])
    assert screen.end() == 1
    assert told(screen) == [_("what"), _("why"), _("next")]
    assert squeezed("sudo chown -R ") in screen.flat and squeezed(str(home)) in screen.flat
    assert "Traceback" not in screen.text and list(home.iterdir()) == []


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("entry", ["g", "3"])
def test_a_data_file_that_is_no_good(menu: Menu, tmp_path: Path, entry: str, language: str) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.json").write_text("{nonsense")
    (tmp_path / "nothing.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    screen = menu(language)
    screen.keys(entry, ENTER).asks(_("Your data file (Excel, CSV, JSON, text):"))
    screen.keys(str(tmp_path / "missing.csv"), ENTER).wait_for(_("There is no such file. Ctrl-C goes back."))
    screen.keys("\x15", str(tmp_path), ENTER).wait_for(_("There is no such file. Ctrl-C goes back.")).interrupt()
    for name in ("empty.csv", "broken.json", "nothing.jsonl"):
        at_first_screen(screen).keys(entry, ENTER)
        screen.asks(_("Your data file (Excel, CSV, JSON, text):")).keys(f"'{tmp_path / name}'", ENTER)
        screen.waits_for_any_key()
        assert told(screen)[0] == _("what") and told(screen)[-1] == _("next"), screen.text
        assert "Traceback" not in screen.text
        screen.keys(" ")
    at_first_screen(screen).keys("q", ENTER)
    assert screen.end() == 0
    assert folder.all_jobs() == []
    assert not screen.too_wide()
    if language == "zh":
        assert not screen.english()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_models_that_are_no_good(menu: Menu, tmp_path: Path, shelf: Path, language: str) -> None:
    """Whatever the folder lacks is told before or by the job, and the menu goes on."""
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}')
    (tmp_path / "not.zip").write_bytes(b"PK nothing of the kind")
    screen = menu(language)
    # What Python's archive reader says is English.
    for bad in (bare, tmp_path / "not.zip") if language == "en" else (bare,):
        screen.keys("1", ENTER).asks(_("Where is the model?")).pick(_("on this machine: a folder or an archive"))
        screen.asks(_("Folder or archive:")).keys("/nowhere", ENTER)
        screen.wait_for(_("There is nothing of that name. Ctrl-C goes back.")).keys("\x15", str(bad), ENTER)
        screen.asks(_("Start?")).keys(ENTER).waits_for_any_key()
        assert told(screen)[0] == _("what"), screen.text
        screen.keys(" ")
        at_first_screen(screen)
    screen.keys("4", ENTER).asks(_("Which adapter?")).keys(ENTER).asks(_("Folder of the adapter:"))
    screen.keys(str(bare), ENTER).waits_for_any_key()
    assert told(screen)[0] == _("what"), screen.text
    screen.keys(" ")
    screen.asks(_("What do you want to do?")).keys("2", ENTER).asks(_("Which model should answer?")).pick(
        _("another: a folder or owner/name")
    )
    screen.asks(_("Folder or owner/name:")).keys(str(shelf / "adapters" / "plain"), ENTER)
    screen.asks(_("Who may ask it?")).keys(ENTER).waits_for_any_key()
    assert told(screen)[0] == _("what"), screen.text
    assert not screen.too_wide()
    if language == "zh":
        assert not screen.english()
