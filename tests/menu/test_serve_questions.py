"""The questions before serving on a machine with an NVIDIA card: which engine, installed first or not; which adapter.

The card is the NVML stub's; nothing is installed or started.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nvml_machine
import pytest
from conftest import Menu, at_first_screen
from screen import ENTER, squeezed

from appliance import engines, files
from appliance.hub.model import ADAPTER_MANIFEST
from appliance.jobs import folder
from appliance.locale import _

TUNED = "20261122-120000-finetune-mine"


@pytest.fixture
def tuned(workspace: Path, shelf: Path) -> Path:
    """An adapter as a fine-tune of this workspace leaves it behind, trained on tiny-base."""
    job = workspace / "jobs" / TUNED
    adapter = job / "adapter"
    shutil.copytree(shelf / "adapters" / "plain", adapter)
    files.write_json(adapter / ADAPTER_MANIFEST, {"base": {"folder": str(workspace / "models" / "tiny-base")}})
    files.write_json(job / "job.json", {"kind": "finetune", "name": "mine", "spec": {}})
    files.write_json(job / "state.json", {"state": "done"})
    files.write_json(job / "result.json", {"adapter": str(adapter)})
    return adapter


@pytest.mark.parametrize(
    ("language", "card", "faster"),
    [
        ("zh", "24564 300 8 9 0 NVIDIA GeForce RTX 4090", "vllm"),
        ("en", "32510 300 7 0 0 Tesla V100-SXM2-32GB", "lmdeploy"),
    ],
)
def test_which_engine_and_which_adapter(
    menu: Menu, workspace: Path, tuned: Path, tmp_path: Path, language: str, card: str, faster: str
) -> None:
    machine = tmp_path / "machine"
    machine.write_text(f"card {card}\n")
    stub = {"LD_LIBRARY_PATH": str(nvml_machine.compile_stub(tmp_path)), "NVML_STUB": str(machine)}
    screen = menu(language, env=stub, lines=40)
    name = card.split(" ", 5)[5]
    question = _("{name} would be faster on {card}, but is not installed.").format(name=faster, card=name)
    gib = engines.by_name(faster).download_gib
    install = _("install it first ({gib:.1f} GiB to download)").format(gib=gib)
    here = _("serve with transformers, at once but slower")
    beside, alone = (
        _("Adapters were trained on this model. Serve one beside it, under its own name?"),
        _("no, the model alone"),
    )

    def to_engine() -> None:
        screen.keys("2", ENTER).asks(_("Which model should answer?")).pick("tiny-base")
        screen.asks(_("Who may ask it?"), _("everyone in the network who has the key")).keys(ENTER)
        screen.asks(question, install, here)

    # Installed first: what that takes is said before it starts; back leads to the menu.
    to_engine()
    screen.pick(install).asks(beside)
    screen.pick(alone).asks(_("Start?"), _("start"), _("back"))
    assert squeezed(_("about {n:.0f} GiB").format(n=engines.by_name(faster).disk_gib)) in screen.flat
    assert f"appliance install {faster}" in " ".join(screen.text.split())
    at_first_screen(screen.pick(_("back")).waits_for_any_key().keys(" "))

    # With what is here, and with the adapter beside the base.
    to_engine()
    screen.pick(here)
    screen.asks(beside, alone, TUNED).pick(TUNED)
    screen.asks(_("Start?"), _("start"), _("advanced"), _("back"))
    assert squeezed(f"--adapter {tuned}") in screen.flat and squeezed("--engine transformers") in screen.flat
    # Under "advanced" every engine can be had; one that is not installed says what it takes, and takes it first.
    screen.pick(_("advanced")).asks(_("Port:")).keys(ENTER)
    screen.asks(_("Name that clients use (empty: the model's own):")).keys(ENTER)
    first = _("{name} (is installed first: {gib:.1f} GiB)").format(name=faster, gib=gib)
    screen.asks(_("Engine:"), "auto", first, "transformers").pick(first)
    screen.asks(_("A chat page for the browser as well?")).pick(_("no"))
    screen.asks(_("Start?"), _("start"), _("back"))
    assert f"appliance install {faster}" in " ".join(screen.text.split())
    at_first_screen(screen.pick(_("back")).waits_for_any_key().keys(" ")).keys("q", ENTER)
    assert screen.end() == 0
    assert [job.id for job in folder.all_jobs()] == [TUNED]
    assert not screen.too_wide()
    if language == "zh":
        assert not {line for line in screen.english() if name not in line}
