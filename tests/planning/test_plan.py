"""What a plan says, what a person wishes, how long it takes. Machines × models: test_choices."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))
from dataclasses import replace

from machines import MACHINES, MODELS, TINY

from appliance.planning import catalogue
from appliance.planning.lengths import Lengths
from appliance.planning.plan import plan
from appliance.planning.way import Way

_EXPLAINED = {
    "device", "profile", "method", "dtype", "micro_batch", "accumulation", "length", "rank", "learning_rate", "epochs",
    "steps", "optimizer", "checkpointing", "targets", "verdict",
}  # fmt: skip
KEYS = {
    "profile", "method", "dtype", "micro_batch", "accumulation", "length", "verdict", "memory", "reasons",
    "alternatives", "warnings", "rank", "alpha", "targets", "learning_rate", "epochs", "steps", "optimizer",
    "checkpointing", "device", "accelerators", "disk_gib", "seconds",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path))
    monkeypatch.setenv("APPLIANCE_LANG", "en")


def test_every_choice_has_a_reason() -> None:
    made = plan(MACHINES["A10"], MODELS["8B"], rows=1000, longest=900)
    assert set(made.reasons) >= _EXPLAINED
    assert all(made.reasons.values())


def test_keys_and_json() -> None:
    made = plan(MACHINES["A10"], MODELS["8B"]).as_dict()
    assert set(made) >= KEYS
    assert set(made["memory"]) == {"total_gib", "low_gib", "high_gib", "parts"}
    assert json.loads(json.dumps(made)) == made
    assert (made["steps"], made["seconds"], made["accelerators"]) == (None, None, [0])


def test_the_same_effective_batch_with_less_memory() -> None:
    small, large = plan(MACHINES["T4"], MODELS["14B"]), plan(MACHINES["A100 80"], MODELS["14B"])
    assert small.micro_batch < large.micro_batch
    assert small.micro_batch * small.accumulation == large.micro_batch * large.accumulation == 16


def test_rows_are_cut_only_where_nothing_else_helps() -> None:
    made = plan(MACHINES["3060"], MODELS["14B"], longest=4000)
    assert (made.method, made.micro_batch) == ("qlora", 1)
    assert made.length < 4000
    assert "cut" in made.warnings[-1]
    assert plan(MACHINES["A100 80"], MODELS["14B"], longest=4000).length == 4032


def test_the_card_with_most_free_memory() -> None:
    assert plan(MACHINES["2x4090, one held"], MODELS["8B"]).accelerators == [1]


def test_the_models_own_limit() -> None:
    assert plan(MACHINES["A10"], TINY, longest=5000).length == 1024


def test_what_does_not_fit_names_what_would() -> None:
    made = plan(MACHINES["4060"], MODELS["32B"])
    sizes = {one["method"]: one["model_size"] for one in made.alternatives if "model_size" in one}
    assert sizes == {"lora": "1.7B", "qlora": "8B"}
    named = {one["method"]: one["model"] for one in made.alternatives if "model_size" in one}
    for method, name in named.items():
        assert plan(MACHINES["4060"], catalogue.find(name).shape(), wish={"method": method, "batch": 1, "length": 1024})
        assert any(name in one["sentence"] for one in made.alternatives)
    assert named["lora"] == "qwen3-1.7b"


def test_how_many_cards() -> None:
    two, eight = MACHINES["2x4090"], MACHINES["8xA100 80"]
    made = plan(two, MODELS["8B"], rows=1000, longest=900)
    assert (made.gpus, made.sharding, made.accelerators) == (2, "ddp", [0, 1])
    assert made.micro_batch * made.accumulation * made.gpus == 16
    assert made.steps == plan(MACHINES["4090"], MODELS["8B"], rows=1000, longest=900).steps
    assert made.seconds < plan(MACHINES["4090"], MODELS["8B"], rows=1000, longest=900).seconds
    one = plan(two, MODELS["8B"], rows=1000, longest=900, wish={"gpus": 1})
    assert (one.gpus, one.sharding, len(one.accelerators)) == (1, "none", 1)
    assert "asked for" in one.reasons["gpus"]
    many = plan(two, MODELS["8B"], rows=1000, longest=900, wish={"gpus": 4})
    assert many.gpus == 2 and "You asked for 4 cards; 2 can be used." in many.warnings[0]
    assert plan(MACHINES["processor"], TINY, wish={"gpus": 2}).gpus == 1
    quick = plan(eight, MODELS["1.7B"], rows=100, longest=100)
    assert quick.gpus == 1 and "the others stay free" in quick.reasons["gpus"]
    few = plan(eight, MODELS["72B"], rows=20, longest=4000, wish={"gpus": 8})
    assert few.gpus == 8 and few.micro_batch == 1


def test_weights_are_shared_where_no_card_holds_them() -> None:
    made = plan(MACHINES["8xA100 80"], MODELS["72B"], longest=900)
    assert (made.method, made.gpus, made.sharding, made.verdict) == ("lora", 8, "fsdp", "fits")
    # The adapter and what belongs to it is whole on each card.
    alone = plan(MACHINES["H200"], MODELS["72B"], longest=900, wish={"method": "lora", "batch": made.micro_batch})
    for part in ("adapter", "gradients", "optimizer"):
        assert made.memory.parts[part] == pytest.approx(alone.memory.parts[part])
    assert made.memory.parts["weights"] == pytest.approx(alone.memory.parts["weights"] / 8)
    assert sum(made.memory.parts.values()) == pytest.approx(made.memory.total_gib)
    assert plan(MACHINES["8xA100 80"], MODELS["72B"], longest=900, task="dpo").sharding == "ddp"
    assert plan(MACHINES["8xA100 80"], MODELS["72B"], longest=900, wish={"method": "dora"}).sharding == "ddp"


def test_an_old_card_and_an_old_driver_say_so() -> None:
    assert "too old" in plan(MACHINES["P100"], TINY).reasons["device"]
    assert "535.1 is too old" in plan(MACHINES["old driver"], TINY).reasons["device"]
    assert any("CUDA 12.6" in warning for warning in plan(MACHINES["V100 16"], TINY).warnings)


def test_a_quantised_model_is_warned_of_and_of_a_seeing_one_it_is_told() -> None:
    made = plan(MACHINES["A10"], replace(MODELS["1.7B"], quantised="gptq", vision=True))
    assert len(made.warnings) == 1 and "from text alone" in made.reasons["pictures"]


def test_wishes_win() -> None:
    wish = {"method": "qlora", "rank": 64, "batch": 2, "length": 300, "steps": 7, "learning_rate": 1e-5}
    made = plan(MACHINES["A100 80"], MODELS["1.7B"], rows=100, wish=wish)
    assert (made.method, made.rank, made.alpha, made.micro_batch, made.length) == ("qlora", 64, 128, 2, 300)
    assert (made.steps, made.learning_rate) == (7, 1e-5)
    assert made.reasons["rank"] == "You asked for it."


def test_a_wish_that_does_not_fit_is_warned_of() -> None:
    made = plan(MACHINES["4060"], MODELS["8B"], wish={"method": "lora"})
    assert (made.method, made.verdict) == ("lora", "exceeds")
    assert any("asked for" in warning for warning in made.warnings)


def test_qlora_without_an_nvidia_card_is_lora() -> None:
    for name in ("M2 16", "processor"):
        made = plan(MACHINES[name], MODELS["1.7B"], wish={"method": "qlora"})
        assert made.method == "lora"
        assert "bitsandbytes" in made.warnings[0]
        assert made.optimizer == ("adamw_torch" if name == "M2 16" else "adamw_torch_fused")


def test_every_wrong_wish_at_once() -> None:
    wish = {
        "method": "magic",
        "rank": 0,
        "batch": "two",
        "length": 3,
        "epochs": -1,
        "learning_rate": 5,
        "colour": "red",
    }
    with pytest.raises(UsageError) as caught:
        plan(MACHINES["A10"], TINY, wish=wish)
    assert len(caught.value.problems) == 7


@given(rows=st.integers(1, 200_000))
def test_small_data_gets_steps_and_large_data_does_not_take_for_ever(rows: int) -> None:
    made = plan(MACHINES["A10"], TINY, rows=rows, longest=100)
    assert made.steps is not None
    assert made.steps >= 60 or made.epochs == 10
    assert 1 <= made.epochs <= 10
    seen = made.steps * made.micro_batch * made.accumulation
    assert seen >= rows * made.epochs
    if rows >= 20_000:
        assert made.epochs == 1


@given(free=st.floats(0.5, 150), longest=st.integers(1, 20_000), model=st.sampled_from(sorted(MODELS)))
def test_more_memory_is_never_worse(free: float, longest: int, model: str) -> None:
    order = {"exceeds": 0, "tight": 1, "fits": 2}

    def made(gib: float):
        card = replace(MACHINES["A100 80"].accelerators[0], memory_gib=200.0, nominal_gb=192, free_gib=gib)
        return plan(replace(MACHINES["A100 80"], accelerators=[card]), MODELS[model], longest=longest)

    less, more = made(free), made(free + 5)
    assert order[less.verdict] <= order[more.verdict] or less.length < more.length
    assert less.length <= more.length
    if less.verdict == "fits":
        assert less.memory.high_gib <= free


def test_how_cards_work_together_can_be_asked_for() -> None:
    two = MACHINES["2x4090"]
    found = {}
    for way in ("ddp", "zero2", "zero3"):
        made = plan(two, MODELS["8B"], rows=1000, longest=900, wish={"sharding": way})
        assert (made.gpus, made.sharding) == (2, way)
        assert ("ZeRO" in made.reasons["gpus"]) == way.startswith("zero")
        found[way] = made.memory.parts["weights"]
    assert found["zero3"] < 0.6 * found["zero2"] and found["zero2"] == found["ddp"]
    alone = plan(MACHINES["A10"], MODELS["8B"], rows=1000, longest=900, wish={"sharding": "zero3"})
    assert alone.sharding == "none" and any("several cards" in warning for warning in alone.warnings)
    with pytest.raises(UsageError) as told:
        plan(two, MODELS["8B"], wish={"sharding": "zero1"})
    assert "sharding" in told.value.problems[0] and "zero2" in told.value.problems[0]


def test_pictures_are_counted_or_said_to_be_guessed() -> None:
    seeing = replace(MODELS["8B"], vision=True)
    made = plan(MACHINES["A100 80"], seeing, rows=2, lengths=Lengths.of([90, 100]), images=2)
    assert made.length >= 1300 and "guessed to be 1300 tokens" in made.reasons["pictures"]
    counted = plan(MACHINES["A100 80"], seeing, rows=2, lengths=Lengths.of([90, 900], rough=False), images=2)
    assert counted.length == 960 and "own processor makes of it" in counted.reasons["pictures"]


def test_what_compares_without_a_reference_holds_all_logits() -> None:
    """TRL's trainers for ORPO and SimPO keep them, those for DPO and the others don't: 12 bytes a token and word."""
    ways = {
        task: Way("lora", "float32", 4, 256, 8, "adamw_torch", False, "cpu", task=task).formula(MODELS["1.7B"])
        for task in ("dpo", "orpo", "simpo")
    }
    every = 12 * 2 * 4 * 256 * MODELS["1.7B"].vocab / 2**30
    for task in ("orpo", "simpo"):
        assert ways[task].parts["logits"] == pytest.approx(every, rel=0.05)
        assert ways[task].total_gib > ways["dpo"].total_gib
