"""The models that are here, by keys alone; and a closed model, for which the token is asked in passing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Menu, at_first_screen
from screen import ENTER, Screen, squeezed

from appliance import settings
from appliance.hub import manifest
from appliance.jobs import folder, models
from appliance.locale import _

sys.path.append(str(Path(__file__).parent.parent / "hub"))
from fake_hub import MODEL, FakeHub
from model_files import model_files, write

LONG = 60.0


def here(screen: Screen, name: str) -> Screen:
    """From the first screen to one model's."""
    screen.keys("1", ENTER).asks(_("Where is the model?")).pick(_("here already: see, verify, export, remove"))
    screen.asks(_("Which one?"), _("all: read every byte again"), _("back")).pick(name)
    return screen.asks(_("What now?"), _("back"))


def remove(screen: Screen, name: str) -> None:
    question = models.question(models.find(name))
    screen.pick(_("remove")).asks(question, _("no")).pick(_("yes")).waits_for_any_key().keys(" ")


@pytest.mark.parametrize("language", ["zh", pytest.param("en", marks=pytest.mark.slow)])
def test_verify_export_remove(menu: Menu, home: Path, tmp_path: Path, language: str) -> None:
    source = write(tmp_path / "M7", model_files())
    (tmp_path / "stick").mkdir()
    (home / "models" / ".Qwen--cut.partial").mkdir(parents=True)
    screen = menu(language)
    screen.keys("1", ENTER).asks(_("Where is the model?")).pick(_("on this machine: a folder or an archive"))
    screen.asks(_("Folder or archive:")).keys(str(source), ENTER).asks(_("Start?")).keys(ENTER)
    screen.wait_for(_("Done."), LONG).waits_for_any_key().keys(" ")

    here(at_first_screen(screen), "M7").pick(_("verify: read every byte again")).asks(_("Start?")).keys(ENTER)
    screen.wait_for(_("Done."), LONG).waits_for_any_key().keys(" ")

    here(at_first_screen(screen), "M7").pick(_("export: to a stick or disk, for a machine without a network"))
    screen.asks(_("To where? A folder (such as the stick's), or NAME.tar:")).keys("/no/where/x.tar", ENTER)
    screen.wait_for(_("There is no such folder. Ctrl-C goes back.")).keys("\x15", str(tmp_path / "stick"), ENTER)
    screen.asks(_("Start?")).keys(ENTER)
    screen.wait_for(_("Done."), LONG).waits_for_any_key().keys(" ")
    assert (tmp_path / "stick" / "M7" / "config.json").is_file()

    # Damage that no size gives away: found, shown from then on, never mended behind a person's back.
    (home / "models" / "M7" / "LICENSE").write_bytes(b"texT\n")
    here(at_first_screen(screen), "M7").pick(_("verify: read every byte again")).asks(_("Start?")).keys(ENTER)
    screen.wait_for("LICENSE", LONG).waits_for_any_key().keys(" ")
    here(at_first_screen(screen), "M7")
    assert squeezed(_("damaged")) in screen.flat and squeezed(_("export: to a stick")) not in screen.flat
    remove(screen, "M7")

    here(at_first_screen(screen), "Qwen--cut")
    assert squeezed("appliance download Qwen/cut") in screen.flat
    remove(screen, "Qwen--cut")
    at_first_screen(screen).keys("1", ENTER).asks(_("Where is the model?"))
    screen.pick(_("here already: see, verify, export, remove")).waits_for_any_key()
    assert squeezed(_("There are no models in the workspace yet.")) in screen.flat and not models.entries()
    assert not screen.too_wide()
    if language == "zh":
        assert not screen.english()


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.slow)])
def test_push_with_a_token_given_in_passing(menu: Menu, home: Path, language: str) -> None:
    hub = FakeHub({})
    hub.token = "hf_secret"
    manifest.write(write(home / "models" / "M7", model_files()), source="merge", reference="job", revision=None)
    screen = menu(language, env={"HF_ENDPOINT": hub.address})

    here(screen, "M7").pick(_("push: to Hugging Face or ModelScope"))
    screen.asks(_("To which hub?")).pick("Hugging Face")
    screen.asks(_("Your name there and a name for it (owner/name):")).keys("me", ENTER)
    screen.wait_for(_("It takes the hub, your name there, and a name for the model.")).keys("/m7", ENTER)
    screen.asks(_("Who may see it?"), _("everyone")).keys(ENTER)
    screen.asks(_("Start?")).keys(ENTER)
    screen.asks(_("Has its owner let you in, and do you have a token?"), _("not now"), timeout=LONG).keys(ENTER)
    screen.asks(_("Your token for {hub}:").format(hub="Hugging Face")).keys("hf_secret", ENTER)
    screen.wait_for(_("Done."), LONG).waits_for_any_key().keys(" ")
    hub.close()
    assert hub.pushed["me/m7"].private and "model-00001-of-00002.safetensors" in hub.pushed["me/m7"].files
    assert not [line for line in screen.seen if "hf_" in line] and not screen.too_wide()


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.slow)])
def test_a_closed_model_asks_for_the_token_and_goes_on(menu: Menu, home: Path, language: str) -> None:
    hub = FakeHub(model_files())
    hub.token = "hf_secret"
    screen = menu(language, env={"HF_ENDPOINT": hub.address})
    screen.keys("1", ENTER).asks(_("Where is the model?")).pick(_("at Hugging Face"))
    screen.asks(_("Which model?")).pick(_("another: type owner/name")).asks(_("owner/name:")).keys(MODEL, ENTER)
    screen.asks(_("Start?")).keys(ENTER)
    for wrong in ("hf_wrong", "hf_secret"):
        screen.asks(_("Has its owner let you in, and do you have a token?"), _("not now"), timeout=LONG).keys(ENTER)
        screen.asks(_("Your token for {hub}:").format(hub="Hugging Face")).keys(wrong, ENTER)
        screen.wait_for(_("Stored; only downloads and pushes read it."))
    screen.wait_for(_("Done."), LONG).waits_for_any_key().keys(" ")
    hub.close()
    assert models.find(MODEL).state == "whole" and settings.stored_token("huggingface") == "hf_secret"
    assert not [line for line in screen.seen if "hf_" in line]
    assert len(folder.all_jobs()) == 1
    files = [path for path in home.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
    assert [path.name for path in files] == ["huggingface"]

    at_first_screen(screen).keys("6", ENTER).asks(_("Which setting?"))
    line = _("Token for closed models at {hub}: {state}").format(hub="Hugging Face", state=_("stored"))
    screen.pick(line).asks(_("What now?")).pick(_("forget the stored one")).waits_for_any_key()
    assert not settings.stored_token("huggingface") and not screen.too_wide()
