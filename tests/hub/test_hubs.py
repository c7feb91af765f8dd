"""The real clients of both hubs against a hub on loopback."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from bringing import Bring
from fake_hub import COMMIT, MODEL, FakeHub
from model_files import TAKEN

from appliance import locale
from appliance.errors import ApplianceError, Stopped
from appliance.hub import manifest, workspace

Hubs = dict[str, FakeHub]
each_hub = pytest.mark.parametrize("source", ["huggingface", "modelscope"])


def visible(home: Path) -> list[str]:
    models = home / "models"
    return [path.name for path in models.iterdir() if not path.name.startswith(".")] if models.is_dir() else []


@each_hub
def test_brings_only_what_is_needed(source: str, hubs: Hubs, bring: Bring, workspace: Path) -> None:
    folder = bring(source=source)
    written = manifest.read(folder)
    assert written is not None
    assert sorted(path.name for path in folder.iterdir()) == sorted([*TAKEN, manifest.NAME])
    assert all((folder / name).read_bytes() == hubs[source].files[name] for name in TAKEN)
    assert (written["source"], written["reference"], written["revision"]) == (source, MODEL, COMMIT)
    assert visible(workspace) == ["owner--tiny"] and not list((workspace / "models").glob(".*"))
    assert bring.steps[-1][1] == bring.steps[-1][2]
    assert not (Path.home() / ".modelscope").exists()


@each_hub
def test_second_time_asks_nobody(source: str, hubs: Hubs, bring: Bring) -> None:
    bring(source=source)
    hubs[source].status = 500
    bring(source=source)
    bring(source=source, revision=COMMIT)
    assert "Already here" in bring.notes[-1]


@each_hub
def test_branch_that_still_is_that_commit(source: str, hubs: Hubs, bring: Bring) -> None:
    bring(source=source)
    sent = sum(hubs[source].sent.values())
    bring(source=source, revision="dev")
    assert "Already here" in bring.notes[-1] and sum(hubs[source].sent.values()) == sent


@each_hub
def test_flipped_byte_is_refused(source: str, hubs: Hubs, bring: Bring, workspace: Path) -> None:
    hubs[source].flipped = {"model-00001-of-00002.safetensors"}
    with pytest.raises(ApplianceError, match="not what it lists"):
        bring(source=source)
    assert visible(workspace) == []
    assert hubs[source].sent["model-00001-of-00002.safetensors"] == 2
    hubs[source].flipped = set()
    bring(source=source)


def test_flipped_byte_in_a_small_file_of_hugging_face(hubs: Hubs, bring: Bring, workspace: Path) -> None:
    hubs["huggingface"].flipped = {"README.md"}  # no sha256 in the listing: the git blob id tells
    with pytest.raises(ApplianceError, match="not what it lists"):
        bring(source="huggingface")
    assert visible(workspace) == []


@each_hub
@pytest.mark.parametrize(("status", "words"), [(404, "has no owner/tiny"), (403, "until its owner lets you in")])
def test_refusals(source: str, status: int, words: str, hubs: Hubs, bring: Bring, workspace: Path) -> None:
    hubs[source].status = status
    with pytest.raises(ApplianceError, match=words) as told:
        bring(source=source)
    assert told.value.next_step
    assert not (workspace / "models").exists()


@each_hub
def test_gated_files_behind_an_open_listing(source: str, hubs: Hubs, bring: Bring, workspace: Path) -> None:
    hubs[source].file_status = 403
    with pytest.raises(ApplianceError, match="until its owner lets you in"):
        bring(source=source)
    assert list((workspace / "models").iterdir()) == []


@each_hub
def test_token_goes_to_its_own_hub_and_into_no_error(
    source: str, hubs: Hubs, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, variable = "hf_secretsecret", {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}[source]
    hubs[source].token = "another"
    monkeypatch.setenv(variable, secret)
    with pytest.raises(ApplianceError) as told:
        bring(source=source)
    assert variable in told.value.next_step
    assert secret not in "".join(traceback.format_exception(told.value)) + str(told.value.as_dict())
    hubs[source].token = secret
    bring(source=source)


@each_hub
def test_hub_down(
    source: str, closed_address: str, bring: Bring, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", closed_address)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", closed_address)
    with pytest.raises(ApplianceError, match="could not be reached"):
        bring(source=source)
    with pytest.raises(ApplianceError, match="from either hub") as told:
        bring()
    assert len(told.value.problems) == 2
    assert not (workspace / "models").exists()


@pytest.mark.parametrize(("language", "first"), [("en", "huggingface"), ("zh", "modelscope")])
def test_auto_takes_the_hub_of_the_language(language: str, first: str, hubs: Hubs, bring: Bring) -> None:
    locale.set_language(language)
    written = manifest.read(bring())
    assert written is not None and written["source"] == first and len(bring.notes) == 1


def test_auto_takes_the_hub_that_has_it(hubs: Hubs, bring: Bring) -> None:
    hubs["huggingface"].status = 404
    written = manifest.read(bring())
    assert written is not None and written["source"] == "modelscope"
    assert "ModelScope" in bring.notes[0] and "Hugging Face has no owner/tiny" in bring.notes[0]


def test_auto_goes_on_at_the_other_hub(hubs: Hubs, bring: Bring) -> None:
    hubs["huggingface"].flipped = {"model-00001-of-00002.safetensors"}
    written = manifest.read(bring())
    assert written is not None and written["source"] == "modelscope"
    assert hubs["modelscope"].sent["model-00001-of-00002.safetensors"] == 1
    assert "going on with ModelScope" in " ".join(bring.notes)


@each_hub
@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a\\b.json", "a\0b.json", "x/../../y.json"])
def test_hostile_listing(source: str, name: str, hubs: Hubs, bring: Bring, workspace: Path) -> None:
    hubs[source].listing_extra = [name]
    with pytest.raises(ApplianceError, match="refused") as told:
        bring(source=source)
    assert told.value.problems and not (workspace / "models").exists()


@each_hub
def test_pickle_only_is_refused_before_a_byte_comes(source: str, hubs: Hubs, bring: Bring, workspace: Path) -> None:
    hubs[source].files = {k: v for k, v in hubs[source].files.items() if not k.endswith(".safetensors")}
    with pytest.raises(ApplianceError) as told:
        bring(source=source)
    assert "pickle" in told.value.why and not hubs[source].sent and not (workspace / "models").exists()


@each_hub
def test_a_stop_is_heard_during_a_stall(source: str, hubs: Hubs, bring: Bring) -> None:
    hub = hubs[source]
    hub.flowing.clear()

    def stop() -> None:
        if hub.stalled.is_set():
            raise Stopped

    bring.check_stopped = stop
    with pytest.raises(Stopped):
        bring(source=source)


@each_hub
def test_goes_on_after_kill(source: str, hubs: Hubs, bring: Bring) -> None:
    hub = hubs[source]
    hub.flowing.clear()
    program = f"from bringing import Bring; Bring()(source={source!r})"
    worker = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parent)
    assert hub.stalled.wait(120)
    worker.kill()
    worker.wait()
    assert [one.name for one in workspace.unfinished()] == ["owner--tiny"] and not workspace.list_models()
    assert workspace.resolve(MODEL) is None
    hub.flowing.set()
    bring(source=source)
    assert [one.name for one in workspace.list_models()] == ["owner--tiny"] and not workspace.unfinished()


def test_a_taken_target_is_never_overwritten(hubs: Hubs, bring: Bring, workspace: Path) -> None:
    mine = workspace / "models" / "owner--tiny" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ApplianceError, match="is taken"):
        bring()
    assert mine.read_text() == "mine" and not hubs["huggingface"].sent


def test_too_little_room(hubs: Hubs, bring: Bring, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ApplianceError, match="too little room"):
        bring(source="huggingface")
    assert list((workspace / "models").iterdir()) == []
