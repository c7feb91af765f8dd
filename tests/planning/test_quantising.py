"""Which scheme suits which card, by how much it shrinks, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import MACHINES, MODELS, TINY, cuda, machine

from appliance.errors import ApplianceError, UsageError
from appliance.planning.quantising import SCHEMES, quantising, served

BIG = machine(memory=256.0, free=250.0)  # does the work; no card
SMALL = next(shape for shape in MODELS.values() if 6e9 < shape.parameters < 9e9 and not shape.experts)
LARGE = next(shape for shape in MODELS.values() if 25e9 < shape.parameters < 40e9 and not shape.experts)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("H100", "fp8"), ("4090", "fp8"), ("L4", "fp8"),
        ("A100 80", "gptq"), ("3090", "gptq"), ("T4", "gptq"),
        ("V100 32", "bnb4"),
        ("4060", "gptq"),  # 8 GB: in FP8 an 8B model would not fit
    ],
)  # fmt: skip
def test_the_card_decides(name: str, scheme: str) -> None:
    made = quantising(BIG, SMALL, serving=MACHINES[name])
    assert made.scheme == scheme and made.reason and not made.warnings


def test_what_does_not_fit_in_8_bits_gets_4() -> None:
    assert quantising(BIG, LARGE, serving=MACHINES["H100"]).scheme == "fp8"
    assert quantising(BIG, LARGE, serving=MACHINES["4090"]).scheme == "gptq"


@pytest.mark.parametrize("name", ["M2 16", "P100"])
def test_where_nothing_serves_it_nothing_is_chosen(name: str) -> None:
    for here in (MACHINES[name], machine()):
        with pytest.raises(ApplianceError, match="gains nothing") as told:
            quantising(here, TINY)
        assert told.value.why and "--scheme" in told.value.next_step


def test_a_wish_is_held_against_the_card_that_is_there() -> None:
    blackwell = machine(cuda("NVIDIA B200", 179.0, "10.0"))
    for hardware, scheme, offered in ((blackwell, "int8", "fp8"), (MACHINES["V100 32"], "gptq", "bnb4")):
        with pytest.raises(ApplianceError, match="can't serve") as told:
            quantising(BIG, SMALL, scheme=scheme, serving=hardware)
        assert offered in told.value.next_step and scheme not in told.value.next_step
    assert "no FP8" in quantising(BIG, SMALL, scheme="fp8", serving=MACHINES["3090"]).warnings[0]
    for scheme in SCHEMES:  # no card here: for another machine, which is said
        assert "another machine" in quantising(BIG, SMALL, scheme=scheme).warnings[0]
    with pytest.raises(UsageError):
        quantising(BIG, SMALL, scheme="nf3")


def test_by_how_much() -> None:
    sizes = {s: quantising(BIG, SMALL, scheme=s) for s in SCHEMES}
    for made in sizes.values():
        assert made.before_gib == pytest.approx(SMALL.parameters * 2 / 2**30, rel=0.01)
        assert made.shrinks
    assert 1.6 < sizes["fp8"].before_gib / sizes["fp8"].after_gib < 2.0
    assert 2.3 < sizes["gptq"].before_gib / sizes["gptq"].after_gib < 4.0
    assert sizes["fp8"].memory_gib < sizes["gptq"].memory_gib  # no squares of widths, no rows
    assert sizes["fp8"].samples == sizes["bnb4"].samples == 0 < sizes["gptq"].samples
    assert quantising(MACHINES["H100"], SMALL, scheme="gptq").device == "cuda"
    assert quantising(BIG, SMALL, scheme="gptq", samples=3, length=100).samples == 3


def test_groups_divide_every_layer() -> None:
    assert quantising(BIG, SMALL, scheme="gptq").group == 128
    assert quantising(BIG, replace(TINY, intermediate=192), scheme="awq").group == 64
    with pytest.raises(ApplianceError, match="in groups") as told:
        quantising(BIG, replace(TINY, intermediate=200), scheme="gptq")
    assert "200" in told.value.why


def test_experts_take_fp8_and_nothing_else() -> None:
    shape = replace(TINY, experts=8, experts_per_token=2, expert_intermediate=128)
    for name in ("H100", "3090"):
        made = quantising(MACHINES[name], shape)
        assert made.scheme == "fp8" and "experts" in made.reason
    assert made.before_gib / made.after_gib > 1.6  # the experts shrink, too
    with pytest.raises(ApplianceError, match="experts") as told:
        quantising(BIG, shape, scheme="gptq")
    assert "--scheme fp8" in told.value.next_step


def test_how_an_engine_serves_it() -> None:
    packed = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    card = MACHINES["3090"].accelerators[0]
    assert "16 bits" in served(packed, "transformers", None)
    assert "16 bits" in served(packed, "vllm", card) and "16" not in served(
        packed, "vllm", MACHINES["H100"].accelerators[0]
    )
    groups = {"group_0": {"weights": {"group_size": 128}}}
    assert served({**packed, "format": "pack-quantized", "config_groups": groups}, "lmdeploy", card)
    for quantisation, engine, on in (
        ({"quant_method": "awq"}, "transformers", None),
        ({"quant_method": "bitsandbytes"}, "vllm", card),
        (packed, "lmdeploy", MACHINES["V100 32"].accelerators[0]),
        ({**packed, "format": "int-quantized"}, "vllm", cuda("NVIDIA B200", 179.0, "10.0")),
    ):
        with pytest.raises(ApplianceError) as told:
            served(quantisation, engine, on)
        assert told.value.why and told.value.next_step


def test_what_is_passed_over_and_what_is_not_seen_is_refused() -> None:
    with pytest.raises(ApplianceError, match="can't be quantised") as told:
        quantising(MACHINES["H100"], replace(TINY, model_type="gpt2"))
    assert "--scheme bnb4" in told.value.next_step
    assert quantising(MACHINES["H100"], replace(TINY, model_type="gpt2"), scheme="bnb4").samples == 0
    with pytest.raises(ApplianceError, match="3 pictures"):
        quantising(BIG, SMALL, scheme="fp8", images=3)
    sees = replace(SMALL, vision=True)
    with_pictures, without = (quantising(BIG, sees, scheme="gptq", images=n) for n in (3, 0))
    assert with_pictures.memory_gib > without.memory_gib + 2  # pixels are kept, too


def test_who_serves_it_and_what_else_would_do() -> None:
    made = quantising(BIG, SMALL, serving=MACHINES["H100"])
    assert made.engines == ("vllm",) and set(made.others) == {"gptq", "awq", "int8", "bnb4"}
    assert (
        made.others["gptq"] < made.after_gib and made.others["gptq"] == quantising(BIG, SMALL, scheme="gptq").after_gib
    )
    assert quantising(BIG, SMALL, serving=MACHINES["3090"]).engines == ("vllm", "lmdeploy")  # in groups of 128
    old = quantising(BIG, SMALL, serving=MACHINES["V100 32"])
    assert old.engines == ("transformers",) and old.others == {}
    mixture = replace(TINY, experts=8, experts_per_token=2, expert_intermediate=128)
    assert quantising(MACHINES["H100"], mixture).others == {}
    odd = quantising(MACHINES["H100"], replace(TINY, intermediate=200))
    assert set(odd.others) == {"int8", "bnb4"}
    assert quantising(BIG, replace(SMALL, vision=True), scheme="awq").engines == ("vllm",)
