"""Tokens: kept where only their owner reads them, given to downloads and to nobody else, seen nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from fake_hub import MODEL, FakeHub
from test_download_job import run_job, spec

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.files import read_json
from appliance.hub import hubs as clients
from appliance.hub import tokens

SECRET = "hf_storedsecret"


def test_kept_for_its_owner_only(workspace: Path) -> None:
    old = os.umask(0)
    try:
        tokens.store("huggingface", f"  {SECRET}\n")
    finally:
        os.umask(old)
    files = [path for path in workspace.rglob("*") if path.is_file()]
    assert len(files) == 1 and files[0].read_text().strip() == SECRET
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600 and stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    assert tokens.state("huggingface") == "stored" and tokens.state("modelscope") == ""
    assert SECRET not in str(settings.saved())
    assert tokens.forget("huggingface") and not tokens.forget("huggingface")
    assert settings.hub_token("huggingface") == "" and not files[0].exists()


def test_the_variable_wins(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens.store("modelscope", "stored")
    assert settings.hub_token("modelscope") == "stored"
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "outside")
    assert settings.hub_token("modelscope") == "outside" and tokens.state("modelscope") == "variable"


@pytest.mark.parametrize("bad", ["", "  ", "two words", "line\nline", "tab\there", "emoji😀", "x" * 501, "nul\0"])
def test_what_is_no_token(bad: str, workspace: Path) -> None:
    with pytest.raises(ApplianceError) as told:
        tokens.store("huggingface", bad)
    assert told.value.why and not (workspace / "tokens").exists()
    assert not bad.strip() or bad not in f"{told.value.what}{told.value.why}{told.value.next_step}"
    with pytest.raises(UsageError):
        tokens.store("elsewhere", "x")


def test_in_no_child_s_environment(workspace: Path) -> None:
    tokens.store("huggingface", SECRET)
    assert SECRET not in str(settings.child_environment(*settings.HUB_VARIABLES))


def test_scrubbed_even_beside_the_variable(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens.store("huggingface", SECRET)
    monkeypatch.setenv("HF_TOKEN", "hf_outside")
    assert clients.scrub(f"Bearer {SECRET} or hf_outside") == "Bearer *** or ***"


@pytest.mark.parametrize("hub", ["huggingface", "modelscope"])
def test_a_download_uses_it_and_nothing_shows_it(
    hub: str, tmp_path: Path, hubs: dict[str, FakeHub], workspace: Path
) -> None:
    hubs[hub].token = SECRET
    code, said = run_job(tmp_path / "closed", spec(source=hub))
    error = read_json(tmp_path / "closed" / "state.json")["error"]
    assert code == 1 and error["token_for"] == [hub] and f"appliance settings token {hub}" in error["next"]
    tokens.store(hub, SECRET)
    code, said = run_job(tmp_path / "open", spec(source=hub))
    assert code == 0, said
    seen = said + "".join(path.read_text() for path in tmp_path.glob("*/*") if path.is_file())
    assert SECRET not in seen


def test_both_hubs_closed_name_both(tmp_path: Path, hubs: dict[str, FakeHub], workspace: Path) -> None:
    for hub in hubs.values():
        hub.token = "another"
    code, _said = run_job(tmp_path / "job", spec(reference=MODEL))
    assert code == 1
    assert set(read_json(tmp_path / "job" / "state.json")["error"]["token_for"]) == {"huggingface", "modelscope"}
