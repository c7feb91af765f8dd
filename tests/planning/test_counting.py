"""Near the limit the plan counts by itself, says so, keeps the answer, and says why where it can't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machines import MACHINES

from appliance import settings
from appliance.hardware.types import Hardware
from appliance.planning import counting, exact
from appliance.planning.counting import Counter, is_near
from appliance.planning.estimate import Estimate
from appliance.planning.plan import plan
from appliance.planning.shape import Shape, read_shape

CONFIG = {
    "model_type": "qwen3", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64, "intermediate_size": 1024, "vocab_size": 32000,
    "tie_word_embeddings": True, "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APPLIANCE_LANG", "en")
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    return made


def card(free: float) -> Hardware:
    """A 24 GB card of which that many GiB are free."""
    (one,) = MACHINES["4090"].accelerators
    return replace(MACHINES["4090"], accelerators=[replace(one, free_gib=free)])


def just_enough(shape: Shape, times: float) -> Hardware:
    """A card on which the profile's first choice takes that part of what is free."""
    return card(plan(MACHINES["4090"], shape).memory.total_gib * times)


def refuse(*_words: Any) -> Any:
    raise AssertionError("asked again")


def test_near() -> None:
    def of(total: float, high: float) -> Estimate:
        return Estimate(total, total, high, {"weights": total})

    assert is_near(of(10.0, 10.0), 11.0) and is_near(of(12.0, 12.5), 11.0)
    assert is_near(of(8.0, 11.5), 11.0)  # farther off, but its own range holds the limit
    assert not is_near(of(9.0, 9.5), 11.0) and not is_near(of(13.0, 14.0), 11.0)


def test_far_from_the_limit_nothing_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "count", refuse)
    made = plan(card(23.0), read_shape(folder), counter=Counter(folder, settings.home()))
    assert "exact" not in made.reasons and "exact" not in made.memory.as_dict()


def test_near_the_limit_it_is_counted_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not settings.python_of("train").exists():
        pytest.skip("the training environment is not installed")
    shape = read_shape(folder)
    machine = just_enough(shape, 1.1)
    wish = {"method": "lora", "batch": 8, "length": 2048}
    made = plan(machine, shape, wish=wish, counter=Counter(folder, settings.home()))
    assert "counting a training step" in capfd.readouterr().err
    assert made.memory.as_dict()["exact"] is True and made.memory.as_dict()["versions"]["torch"]
    assert "weights, and its memory counted" in made.reasons["exact"]
    by_formula = plan(machine, shape, wish=wish)
    assert made.memory.total_gib == pytest.approx(by_formula.memory.total_gib, rel=0.15)
    monkeypatch.setattr(exact, "count", refuse)
    again = plan(machine, shape, wish=wish, counter=Counter(folder, settings.home()))
    assert again.as_dict() == made.as_dict()
    assert "counting" not in capfd.readouterr().err
    # Another model, or other libraries, are not the same question; a damaged answer is none.
    asked: list[Any] = []

    def count(wanted: Any, _seconds: int) -> Any:
        asked.append(wanted)
        raise exact.NotCounted("What.", "Why.")

    monkeypatch.setattr(exact, "count", count)
    with monkeypatch.context() as patch:
        patch.setattr(counting, "trainer_versions", lambda: "torch 3")
        plan(machine, shape, wish=wish, counter=Counter(folder, settings.home()))
    assert len(asked) == 1
    for file in (settings.home() / "cache" / "exact").iterdir():
        file.write_text("{}")
    plan(machine, shape, wish=wish, counter=Counter(folder, settings.home()))
    assert len(asked) == 2
    # That it can't be counted is kept too.
    told = plan(machine, shape, wish=wish, counter=Counter(folder, settings.home()))
    assert len(asked) == 2 and "What. Why." in told.reasons["exact"]


def test_several_cards_exchange_what_is_not_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = read_shape(folder)
    answer = {"moments": {"backward": {"weights": 2**26}}, "versions": {}}
    monkeypatch.setattr(exact, "count", lambda *_words: [answer])
    (one,) = just_enough(shape, 1.1).accelerators
    machine = replace(MACHINES["4090"], accelerators=[one, replace(one, index=1)])
    made = plan(machine, shape, wish={"gpus": 2, "batch": 8}, counter=Counter(folder, settings.home()))
    assert made.gpus == 2 and made.memory.parts["communication"] > 0
    assert made.memory.total_gib == pytest.approx(sum(made.memory.parts.values()))


def test_without_the_training_environment_the_formula_decides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = read_shape(folder)
    machine = just_enough(shape, 1.1)
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path / "none"))
    made = plan(machine, shape, counter=Counter(folder, settings.home()))
    assert made.memory == plan(machine, shape).memory
    assert "not installed" in made.reasons["exact"]
    assert not (settings.home() / "cache").exists()
