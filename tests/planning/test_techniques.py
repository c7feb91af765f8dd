"""Packing, padding, kernels and optimizers: chosen where they help, each with its reason, and as a person wishes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from machines import MACHINES, MODELS

from appliance.errors import UsageError
from appliance.planning.lengths import Lengths
from appliance.planning.plan import Plan, plan

SHORT_WITH_A_LONG_TAIL = Lengths.of([120] * 5000 + [2000] * 20, rough=False)


def made(machine: str = "4090", model: str = "8B", **words: Any) -> Plan:
    return plan(MACHINES[machine], MODELS[model], **words)


def test_packs_where_a_few_rows_are_long() -> None:
    packed = made(rows=5020, lengths=SHORT_WITH_A_LONG_TAIL)
    alone = made(rows=5020, lengths=SHORT_WITH_A_LONG_TAIL, wish={"packing": False})
    assert packed.packing and not alone.packing and packed.padding_free and alone.padding_free
    assert 2 * packed.micro_batch * packed.accumulation <= alone.micro_batch * alone.accumulation
    assert "share a place" in packed.reasons["packing"] and alone.reasons["packing"] == "You asked for it."
    assert packed.steps and alone.steps and 0.5 < packed.steps / alone.steps < 2  # a step learns from as many rows


def test_no_packs_of_few_rows_or_full_ones() -> None:
    assert not made(rows=200, lengths=Lengths.of([120] * 190 + [2000] * 10)).packing
    assert not made(rows=5000, lengths=Lengths.of([1800] * 5000)).packing


def test_long_texts_go_on_in_the_next_place() -> None:
    lengths = Lengths.of([50_000] * 40)
    texts = made(task="pretrain", rows=40, lengths=lengths)
    assert texts.packing and not [text for text in texts.warnings if "are cut" in text]
    assert texts.steps and texts.steps * texts.micro_batch * texts.accumulation * texts.length >= 50_000 * 40


def test_answers_that_are_compared_are_padded() -> None:
    pairs = made(task="dpo", rows=500)
    assert not pairs.padding_free and not pairs.packing and "compared" in pairs.reasons["padding_free"]
    with pytest.raises(UsageError, match="can't be packed"):
        made(rows=500, wish={"padding_free": False, "packing": True})


def test_kernels_where_there_are_some() -> None:
    llama = replace(MODELS["8B"], model_type="llama")
    assert plan(MACHINES["4090"], llama).liger and not plan(MACHINES["4090"], llama, wish={"liger": False}).liger
    assert not plan(MACHINES["4090"], replace(llama, model_type="unheard")).liger
    assert not made("processor", "0.6B").liger and not made("M2 16", "0.6B").liger
    assert made("processor", "0.6B").reasons["liger"]
    assert plan(MACHINES["4090"], llama).flash and not plan(MACHINES["4090"], llama, wish={"flash": False}).flash
    asked = made("processor", "0.6B", wish={"flash": True, "liger": True})
    assert not asked.flash and not asked.liger
    assert [text for text in asked.warnings if "You asked for flash" in text] and asked.reasons["liger"] in str(
        asked.warnings
    )


def test_optimizers_by_memory_and_by_wish() -> None:
    assert made(model="0.6B").optimizer == "adamw_torch_fused"
    assert made(model="0.6B", wish={"method": "full"}).optimizer == "adamw_torch_fused"
    whole = {name: made("V100 32", "1.7B", wish={"method": name}) for name in ("lora", "full", "galore")}
    need = {name: one.memory.total_gib for name, one in whole.items()}
    assert need["lora"] < need["full"] and whole["full"].optimizer == "paged_adamw_8bit"
    assert whole["galore"].memory.parts["optimizer"] < whole["galore"].memory.parts["gradients"]
    assert made(wish={"optimizer": "adafactor"}).optimizer == "adafactor"
    assert "asked" in made(wish={"optimizer": "adafactor"}).reasons["optimizer"]
    assert made(wish={"neftune": 5}).neftune == 5 and made().neftune == 0
    with pytest.raises(UsageError) as wrong:
        made(wish={"optimizer": "magic", "packing": "yes"})
    assert len(wrong.value.problems) == 2


def test_all_weights_where_memory_is_short() -> None:
    """Refused with its reason: float32 weights with their 16-bit copies, gradients and states."""
    full = made(wish={"method": "full"})
    assert full.verdict == "exceeds" and full.method == "full" and "GiB" in full.reasons["verdict"]
    assert full.memory.parts["weights"] == pytest.approx(1.5 * full.memory.parts["gradients"], rel=0.01)


def test_answers_of_a_whole_step_are_sampled_at_once() -> None:
    few, many = (made(model="0.6B", task="grpo", rows=rows).memory.total_gib for rows in (16, 5000))
    assert many > few
