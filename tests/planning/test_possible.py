"""Every pair of switches has a plan whose choices agree with each other, or a sentence that says why it can't be."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from machines import MACHINES, MODELS

from appliance.errors import ApplianceError, UsageError
from appliance.jobs.prepare import TASKS
from appliance.planning.plan import Plan, plan
from appliance.planning.possible import SPLITTABLE
from appliance.planning.shape import Shape
from appliance.planning.way import METHODS, WHOLE
from appliance.planning.wish import OPTIMIZERS, SHARDINGS, SPLITTING, SWITCHES

SEES = replace(MODELS["1.7B"], vision=True, vision_parameters=600_000_000)
CHOICES = {
    "task": TASKS, "method": tuple(METHODS), "optimizer": OPTIMIZERS, "sharding": SHARDINGS, "model": ("text", "sees"),
    "gpus": (1, 2, 8), "neftune": (0, 5.0), "rank": (1, 256), "batch": (1, 3), "length": (16, 10**6), "steps": (1,),
    **dict.fromkeys(SWITCHES, (True, False)),
}  # fmt: skip
PAIRS = [
    {one: value, other: beside}
    for one, other in combinations(CHOICES, 2)
    for value in CHOICES[one]  # type: ignore[attr-defined]
    for beside in CHOICES[other]  # type: ignore[attr-defined]
]


def agrees(made: Plan, shape: Shape, task: str) -> bool:
    """What our worker can carry out, and the machine with it."""
    cuda, several = made.device == "cuda", made.gpus > 1
    return all(
        (
            several == (made.sharding != "none") and made.gpus == max(1, len(made.accelerators)),
            made.sharding not in SPLITTING
            or (task in ("sft", "pretrain") and made.method in SPLITTABLE and not shape.vision),
            cuda or (made.method != "qlora" and not made.liger and not made.optimizer.startswith("paged")),
            made.method not in WHOLE or task in ("sft", "pretrain", "orpo", "simpo", "reward"),
            made.padding_free or not made.packing,
            not made.padding_free or (task in ("sft", "pretrain") and not shape.vision),
            made.micro_batch >= 1 and made.accumulation >= 1 and (made.steps or 0) >= 1,
            all(made.reasons.values()) and {"method", "dtype", "optimizer", "verdict"} <= set(made.reasons),
        )
    )


@pytest.mark.parametrize("machine", ["processor", "T4", "8xA100 80", "M2 16"])
def test_any_two_switches_have_a_plan_or_a_sentence(machine: str) -> None:
    refused = 0
    for pair in PAIRS:
        wish = dict(pair)
        task, model = str(wish.pop("task", "sft")), wish.pop("model", "text")
        shape = SEES if model == "sees" else MODELS["1.7B"]
        try:
            made = plan(MACHINES[machine], shape, task=task, rows=500, wish=wish)
        except ApplianceError as error:
            refused += 1
            assert error.what and error.next_step and (error.why or error.problems), pair
        else:
            assert agrees(made, shape, task), (pair, made)
    assert 0 < refused < len(PAIRS) / 5


def test_what_can_not_be_shared_out_is_said_at_once() -> None:
    two = MACHINES["2x4090"]
    with pytest.raises(UsageError, match="fsdp can't be used for a model that sees"):
        plan(two, SEES, wish={"sharding": "fsdp"})
    with pytest.raises(UsageError) as both:
        plan(two, MODELS["8B"], task="dpo", wish={"sharding": "zero3", "method": "dora"})
    assert len(both.value.problems) == 2 and both.value.next_step == "--sharding auto"
    with pytest.raises(ApplianceError, match="12 pictures"):
        plan(two, MODELS["8B"], images=12)
    assert plan(two, MODELS["8B"], wish={"sharding": "zero3"}).method == "lora"


@pytest.mark.parametrize("task", ["dpo", "grpo"])
def test_what_only_plain_rows_have_is_refused_for_others(task: str) -> None:
    with pytest.raises(UsageError) as both:
        plan(MACHINES["4090"], MODELS["1.7B"], task=task, wish={"packing": True, "padding_free": True})
    assert len(both.value.problems) == 2 and "--no-packing" in both.value.next_step
    with pytest.raises(UsageError, match="NEFTune"):
        plan(MACHINES["4090"], MODELS["1.7B"], task=task, wish={"neftune": 5.0})
    assert plan(MACHINES["4090"], MODELS["1.7B"], task="orpo", wish={"neftune": 5.0}).neftune == 5
