"""A finished fine-tune is compared with the formula for the batch that there really was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.planning import calibration
from appliance.planning.shape import read_shape
from appliance.planning.way import Way
from appliance.work import experience

PLAN = {
    "method": "lora", "dtype": "bfloat16", "rank": 16, "optimizer": "adamw_torch", "checkpointing": True,
    "device": "cuda", "device_name": "NVIDIA A10", "length": 8192, "micro_batch": 8,
}  # fmt: skip
QWEN = {
    "model_type": "qwen3", "num_hidden_layers": 28, "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 6144, "vocab_size": 151936,
    "tie_word_embeddings": True, "max_position_embeddings": 40960,
}  # fmt: skip


@pytest.fixture
def base(tmp_path: Path, home: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps(QWEN))
    return tmp_path / "base"


def test_a_run_that_took_what_the_formula_says_gives_one(base: Path, home: Path) -> None:
    """The largest batch had 4 rows of 1000 tokens, whatever the plan had room for."""
    way = Way("lora", "bfloat16", 4, 1000, 16, "adamw_torch", True, "cuda")
    formula = way.formula(read_shape(base))
    reserved = formula.total_gib - formula.parts["context"]
    experience.remember(base, PLAN, "sft", (4, 1000), reserved)
    key = calibration.key("NVIDIA A10", "lora", True)
    assert calibration.factor(home, key) == pytest.approx(1.0, abs=1e-3)
    half = (formula.total_gib - formula.parts["weights"]) / 10
    for _run in range(3):
        experience.remember(base, PLAN, "sft", (4, 1000), reserved - half)
    assert calibration.factor(home, key) == pytest.approx(0.9, abs=1e-3)


def test_a_processors_runs_are_kept_apart(base: Path, home: Path) -> None:
    experience.remember(
        base, {**PLAN, "device": "cpu", "device_name": "cpu", "dtype": "float32"}, "sft", (8, 2048), 30.0
    )
    (key,) = json.loads((home / calibration.FILE).read_text())["ratios"]
    assert key.startswith("cpu | lora | ")


@pytest.mark.parametrize(
    ("changes", "largest", "measured"),
    [
        ({}, (0, 0), 20.0),  # resumed after its last step
        ({}, (4, 1000), None),
        ({"device": "mps"}, (4, 1000), 20.0),
        ({}, (1, 16), 5.0),  # too small to say anything
    ],
)
def test_what_is_no_measurement(
    base: Path, home: Path, changes: dict, largest: tuple[int, ...], measured: float | None
) -> None:
    experience.remember(base, {**PLAN, **changes}, "sft", largest, measured)
    assert not (home / calibration.FILE).exists()


def test_plans_from_before_and_bases_that_are_gone(base: Path, home: Path) -> None:
    experience.remember(
        base, {name: value for name, value in PLAN.items() if name != "device_name"}, "sft", (4, 1000), 20.0
    )
    experience.remember(base / "gone", PLAN, "sft", (4, 1000), 20.0)
    assert not (home / calibration.FILE).exists()
