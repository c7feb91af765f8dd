"""Profiles: the project's own are whole; a user's win; every problem is shown at once."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.settings import profiles_folder

sys.path.insert(0, str(Path(__file__).parent))
from machines import MACHINES, TINY

from appliance.planning.plan import plan
from appliance.planning.profiles import choose, load_all

GOOD = (profiles_folder() / "lora.toml").read_text(encoding="utf-8")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path))
    monkeypatch.setenv("APPLIANCE_LANG", "en")
    folder = tmp_path / "profiles"
    folder.mkdir()
    return folder


def test_the_projects_own(mine: Path) -> None:
    assert {profile.name for profile in load_all()} == {"lora", "qlora", "mps", "cpu"}
    assert all(set(profile.titles) == {"en", "zh"} for profile in load_all())


def test_a_users_file_wins(mine: Path) -> None:
    (mine / "ours.toml").write_text(GOOD.replace("rank = 16", "rank = 99"))
    assert choose(MACHINES["A10"]).name == "ours"
    assert plan(MACHINES["A10"], TINY).rank == 99
    assert choose(MACHINES["T4"]).name == "qlora"


def test_a_users_file_replaces_the_projects_of_that_name(mine: Path) -> None:
    (mine / "lora.toml").write_text(GOOD.replace("rank = 16", "rank = 99"))
    assert [profile.choose.rank for profile in load_all() if profile.name == "lora"] == [99]


def test_every_problem_of_every_file_at_once(mine: Path) -> None:
    (mine / "a.toml").write_text(
        GOOD.replace("rank = 16", 'rank = "many"').replace("epochs = 3", "epochs = 0\nspeed = 1")
    )
    (mine / "b.toml").write_text("not toml at all")
    (mine / "c.toml").write_bytes(b"\xff\xfe")
    (mine / "d.toml").write_text(GOOD.replace('method = "lora"', 'method = "magic"').replace("zh =", "cn ="))
    with pytest.raises(ApplianceError) as caught:
        load_all()
    text = "\n".join(caught.value.problems)
    for part in ("a.toml: choose.rank", "a.toml: choose.epochs", "a.toml: choose.speed", "b.toml", "c.toml",
                 "d.toml: choose.method", "d.toml: title.zh", "d.toml: title.cn"):  # fmt: skip
        assert part in text


_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60, deadline=None
)
@given(place=st.sampled_from(["title.en", *[f"choose.{k}" for k in tomllib.loads(GOOD)["choose"]]]), value=_VALUES)
def test_a_wrong_value_is_told_by_its_name_or_works(mine: Path, place: str, value: Any) -> None:
    from appliance.planning.profiles import _schema

    content = tomllib.loads(GOOD)
    table, key = place.split(".")
    content[table][key] = value
    from pydantic import ValidationError

    try:
        made = _schema().model_validate(content)
    except ValidationError as error:
        assert all(problem["loc"][:2] == (table, key) for problem in error.errors())
    else:
        assert getattr(getattr(made, table), key) == value
