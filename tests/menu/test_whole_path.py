"""From a file to an answering address, by keys alone, as a person would do it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Menu
from openai import OpenAI
from screen import ENTER, TAB, UP, Screen, squeezed

from appliance.jobs import folder
from appliance.locale import _

LONG = 180.0  # seconds for a job of three


def ask(screen: Screen) -> None:
    """Put a question to the address on the screen, with the key in the file on the screen."""
    address = re.search(r"http://127\.0\.0\.1:\d+/v1", screen.flat)
    key_file = re.search(squeezed(_("Key file")) + r"(/.*?\.key)", screen.flat)
    name = re.search(squeezed(_("Model name")) + "(.*?)" + squeezed(_("Key file")), screen.flat)
    assert address and key_file and name, screen.text
    client = OpenAI(base_url=address[0], api_key=Path(key_file[1]).read_text().strip(), max_retries=0, timeout=60)
    messages = [{"role": "user", "content": "1 + 1?"}]
    answer = client.chat.completions.create(model=name[1], messages=messages, max_tokens=8)
    assert answer.usage and answer.usage.completion_tokens > 0
    assert answer.choices[0].message.role == "assistant"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_guided_to_a_served_answer(menu: Menu, workspace: Path, rows: Path, language: str) -> None:
    screen = menu(language)
    screen.keys("g", ENTER)
    screen.asks(_("Your data file (Excel, CSV, JSON, text):")).keys(str(rows), ENTER)
    screen.asks(
        _("Which model should learn from it?"), "tiny-base", "Qwen/Qwen3-0.6B", _("another: a folder or owner/name")
    )
    screen.pick("tiny-base")
    screen.asks(_("Start?"), _("yes"), _("no"))
    for fact in (_("What"), _("Memory"), _("Disk"), "appliance run "):
        assert squeezed(fact) in screen.flat
    screen.keys(ENTER)
    for number, kind in enumerate(("finetune", "merge", "serve"), 1):
        screen.wait_for(_("Step {n} of {all}: {id}").format(n=number, all=3, id=""), LONG)
        screen.wait_for(f"-{kind}-")
    screen.wait_for(_("It answers."), LONG).waits_for_any_key()
    assert squeezed(_("Chat page")) in screen.flat
    ask(screen)

    screen.keys(" ").asks(_("What do you want to do?"))
    screen.keys("5", ENTER).asks(_("Which job?"), "-serve-", "-merge-", "-finetune-", _("back"))
    screen.pick("-serve-").asks(_("What now?"), _("watch"), _("stop: save and end"), _("show the log"), _("back"))
    screen.pick(_("stop: save and end")).waits_for_any_key()
    server = folder.find("last")
    assert server.kind == "serve" and server.state().state == "stopped"
    assert squeezed(_("{id} is {state}.").format(id=server.id, state=_("stopped"))) in screen.flat

    screen.keys(" ").asks(_("What do you want to do?")).keys("q", ENTER)
    assert screen.end() == 0
    assert [job.kind for job in folder.all_jobs()] == ["serve", "merge", "finetune"]
    assert not screen.too_wide()
    if language == "zh":
        assert not screen.english()


def test_the_four_entries_one_by_one(menu: Menu, home: Path, shelf: Path, rows: Path) -> None:
    screen = menu("en")
    screen.keys("1", ENTER).asks(_("Where is the model?")).pick(_("on this machine: a folder or an archive"))
    # Tab completes, and one Enter takes what stands there.
    screen.asks(_("Folder or archive:")).keys(str(shelf / "base-bf"), TAB).wait_for(str(shelf / "base-bfloat16"))
    screen.keys(ENTER)
    screen.asks(_("Start?"), _("start"), _("back")).keys(ENTER)
    screen.wait_for(_("Done."), LONG).waits_for_any_key().keys(" ").asks(_("What do you want to do?"))
    assert (home / "models" / "base-bfloat16" / "model.safetensors").is_file()

    screen.keys("3", ENTER).asks(_("Your data file (Excel, CSV, JSON, text):")).keys(str(rows), ENTER)
    screen.asks(_("Which model should learn from it?")).pick("base-bfloat16")
    screen.asks(_("Start?"), _("start"), _("advanced"), _("back")).pick(_("advanced"))
    screen.asks(_("How should it learn from the rows?")).keys(ENTER)
    screen.asks(_("Method:"), _("as planned"), "LoRA", "QLoRA").keys(ENTER)
    screen.asks(_("Rank:")).keys("\x15", "none", ENTER).wait_for(_("A number above 0.")).keys("\x15", "4", ENTER)
    for question in (_("Longest row, in tokens:"), _("Rows at once:")):
        screen.asks(question).keys(ENTER)
    screen.asks(_("Passes over the rows:")).keys("\x15", "0.5", ENTER)
    screen.asks(_("Learning rate:")).keys(ENTER)
    screen.asks(_("Switched on:")).keys(ENTER)
    screen.asks(_("Where can its figures be followed, besides TensorBoard?")).keys(ENTER)
    screen.asks(_("Start?"), _("start"), _("advanced"), _("back"))
    assert squeezed("--rank 4 --epochs 0.5") in screen.flat
    # Keys that nobody asked for, while it learns, answer nothing afterwards.
    screen.keys(ENTER).wait_for("━━━━", LONG).keys("xyzzy", ENTER, ENTER)
    screen.asks(_("Merge it into a model of its own now?"), timeout=LONG)
    assert not any("xyzzy" in line for line in screen.seen)
    screen.pick(_("no"))
    screen.waits_for_any_key().keys(" ").asks(_("What do you want to do?"))
    tuned = folder.find("last")
    assert tuned.result and tuned.described["plan"]["rank"] == 4

    screen.keys("4", ENTER).asks(_("Which adapter?"), tuned.id, _("another: a folder")).pick(tuned.id)
    screen.asks(_("Start?")).keys(ENTER).asks(_("Serve it now?"), timeout=LONG).pick(_("no"))
    screen.waits_for_any_key().keys(" ").asks(_("What do you want to do?"))

    screen.keys("2", ENTER).asks(_("Which model should answer?")).pick("base-bfloat16-tuned")
    screen.asks(_("Who may ask it?")).keys(ENTER)
    screen.asks(_("Start?"), _("start"), _("advanced"), _("back")).pick(_("advanced"))
    screen.asks(_("Port:")).keys("\x15", "0", ENTER).wait_for(_("A number from 1 to 65535."))
    screen.keys("\x15", "8100", ENTER)
    screen.asks(_("Name that clients use (empty: the model's own):")).keys("mine", ENTER)
    screen.asks(_("Engine:"), "auto", "vllm", "transformers").pick("transformers")
    screen.asks(_("A chat page for the browser as well?")).pick(_("no"))
    screen.asks(_("Start?")).keys(ENTER).wait_for(_("It answers."), LONG).waits_for_any_key()
    ask(screen)

    # The job's own words, and its removal, which is refused by not being offered while it runs.
    screen.keys(" ").asks(_("What do you want to do?")).keys("5", ENTER).asks(_("Which job?")).pick("-serve-mine")
    screen.asks(_("What now?")).pick(_("show the log")).waits_for_any_key().keys(" ")
    screen.asks(_("What do you want to do?")).keys("5", ENTER).asks(_("Which job?")).pick("-download-")
    screen.asks(_("What now?"), _("remove")).pick(_("remove"))
    screen.asks(_("Delete {id}").split(" ")[0]).keys(UP, ENTER).wait_for(_("Removed.")).waits_for_any_key().keys(" ")
    assert [job.kind for job in folder.all_jobs()] == ["serve", "merge", "finetune"]

    # Leaving does not end the server.
    screen.asks(_("What do you want to do?")).keys("q", ENTER)
    assert screen.end() == 0
    assert folder.find("last").state().state == "running"
    assert not screen.too_wide()
