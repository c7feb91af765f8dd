"""What runs have taken corrects the plans after them, within bounds, and no file can break a plan."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machines import MACHINES, MODELS

from appliance.planning import calibration
from appliance.planning.plan import plan
from appliance.planning.way import Way

A10 = MACHINES["A10"]
NAME = "NVIDIA A10"


@pytest.fixture
def envs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "envs/train/lib/python3.11/site-packages"
    place.mkdir(parents=True)
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path / "envs"))
    for name in ("torch-2.13.0", "trl-1.16.0", "requests-2.0"):
        (place / f"{name}.dist-info").mkdir()
    return place


def test_the_median_of_the_last_five(tmp_path: Path) -> None:
    assert calibration.factor(tmp_path, "k") == 1.0
    for measured in (9.0, 1.0, 9.2, 9.4, 9.0, 9.1):
        calibration.remember(tmp_path, "k", 10.0, measured)
    assert calibration.factor(tmp_path, "k") == 0.91
    assert calibration.factor(tmp_path, "another") == 1.0
    assert json.loads((tmp_path / calibration.FILE).read_text())["ratios"]["k"] == [0.1, 0.92, 0.94, 0.9, 0.91]


@pytest.mark.parametrize(("measured", "factor"), [(0.1, 0.7), (9.0, 0.9), (40.0, 1.5)])
def test_clamped(tmp_path: Path, measured: float, factor: float) -> None:
    calibration.remember(tmp_path, "k", 10.0, measured)
    assert calibration.factor(tmp_path, "k") == factor


@pytest.mark.parametrize(
    ("predicted", "measured"), [(0.0, 1.0), (1.0, 2.0), (10.0, 0.0), (10.0, -1.0), (10.0, float("nan"))]
)
def test_what_says_nothing_is_not_kept(tmp_path: Path, predicted: float, measured: float) -> None:
    calibration.remember(tmp_path, "k", predicted, measured)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"ratios": 3}', '{"ratios": {"k": 1}}', '{"ratios": {"k": ["a", null, true, -1, NaN, 1e999]}}',
     "\xff", "[" * 100_000],
)  # fmt: skip
def test_junk_counts_as_nothing_and_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / calibration.FILE).write_bytes(text.encode("latin-1"))
    assert calibration.factor(tmp_path, "k") == 1.0
    assert calibration.load(tmp_path).factor("lora", True) == 1.0
    calibration.remember(tmp_path, "k", 10.0, 9.0)
    assert calibration.factor(tmp_path, "k") == 0.9


def test_a_workspace_that_cannot_be_written() -> None:
    calibration.remember(Path("/proc/self"), "k", 10.0, 9.0)


def test_a_key_is_the_card_the_way_and_the_libraries(envs: Path) -> None:
    key = calibration.key(NAME, "lora", True)
    assert key == "NVIDIA A10 | lora | checkpointing | fused | torch 2.13.0 trl 1.16.0"
    (envs / "trl-1.16.0.dist-info").rename(envs / "trl-1.17.0.dist-info")
    others = {
        calibration.key(NAME, "lora", True),
        calibration.key(NAME, "qlora", True),
        calibration.key(NAME, "lora", False),
        calibration.key("cpu", "lora", True),
    }
    assert len(others) == 4 and key not in others


def test_only_what_comes_and_goes_is_corrected() -> None:
    way = Way("lora", "bfloat16", 2, 1024, 16, "adamw_torch", True, "cuda")
    formula = way.formula(MODELS["8B"])
    made = calibration.corrected(formula, 0.8)
    weights = formula.parts["weights"]
    assert made.parts["weights"] == weights
    assert made.total_gib == pytest.approx(sum(made.parts.values()))
    assert made.total_gib - weights == pytest.approx(0.8 * (formula.total_gib - weights))
    assert made.low_gib < made.total_gib < made.high_gib < formula.high_gib
    assert calibration.corrected(formula, 1.0) is formula


def test_a_plan_is_corrected_and_says_so(tmp_path: Path, envs: Path) -> None:
    without = plan(A10, MODELS["4B"], wish={"batch": 1})
    assert without.device_name == NAME
    assert "calibration" not in without.reasons
    key = calibration.key(NAME, without.method, without.checkpointing)
    calibration.remember(tmp_path, key, 10.0, 8.0)
    known = calibration.load(tmp_path)
    made = plan(A10, MODELS["4B"], wish={"batch": 1}, calibration=known)
    assert made.memory.total_gib < without.memory.total_gib
    percent = round(100 * (1 - made.memory.total_gib / without.memory.total_gib))
    assert made.reasons["calibration"] == f"Measured on this machine: {percent} percent less than the formula."
    assert f"{made.memory.total_gib:.1f} GiB" in made.reasons["verdict"]
    # Another card knows nothing of it, and another version of the trainer neither.
    other = plan(MACHINES["4090"], MODELS["4B"], wish={"batch": 1}, calibration=known)
    assert "calibration" not in other.reasons
    (envs / "trl-1.16.0.dist-info").rename(envs / "trl-1.17.0.dist-info")
    assert "calibration" not in plan(A10, MODELS["4B"], calibration=calibration.load(tmp_path)).reasons


def test_what_took_more_than_the_formula_no_longer_fits(tmp_path: Path, envs: Path) -> None:
    wish = {"method": "lora", "batch": 1, "length": 4096}
    assert plan(A10, MODELS["8B"], wish=wish).verdict == "fits"
    calibration.remember(tmp_path, calibration.key(NAME, "lora", True), 4.0, 6.0)
    made = plan(A10, MODELS["8B"], wish=wish, calibration=calibration.load(tmp_path))
    assert made.verdict != "fits" and "more than the formula" in made.reasons["calibration"]
