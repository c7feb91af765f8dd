"""The catalogue's facts against themselves, and the groups against what the plan would do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dataclasses import replace

import recount
from machines import MACHINES

from appliance.errors import UsageError
from appliance.planning import catalogue, fitting
from appliance.planning.catalogue import Model
from appliance.planning.plan import plan
from appliance.planning.serving import serving_plan

EVERY = catalogue.load()
BY_NAME = {model.name: model for model in EVERY}
DENSE = [BY_NAME[f"qwen3-{size}"] for size in ("0.6b", "1.7b", "4b", "8b", "14b", "32b")]
FAMILIES = {"Qwen2.5", "Qwen3", "Llama", "DeepSeek-R1", "GLM-4", "InternLM", "MiniCPM", "Gemma 3", "Phi", "Mistral"}
each_model = pytest.mark.parametrize("model", EVERY, ids=lambda model: model.name)


def is_mixture(model: Model) -> bool:
    return model.shape().experts > 0


def test_what_people_ask_for() -> None:
    assert len(EVERY) >= 40
    assert {model.family for model in EVERY} >= FAMILIES
    assert {(model.kind, is_mixture(model)) for model in EVERY} == {
        ("text", False), ("text", True), ("vision", False), ("vision", True),
    }  # fmt: skip
    assert [model.parameters for model in EVERY] == sorted(model.parameters for model in EVERY)
    assert all(model.licence and model.context >= 4096 for model in EVERY)


def test_names_are_names() -> None:
    for names in ([m.name for m in EVERY], [m.huggingface for m in EVERY], [m.modelscope for m in EVERY]):
        assert len({name.lower() for name in names}) == len(names)
    for model in EVERY:
        assert re.fullmatch(r"[a-z0-9.-]+", model.name)
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in (model.huggingface, model.modelscope))
        assert model.languages and all(re.fullmatch(r"[a-z]{2}", code) for code in model.languages)


@each_model
def test_parameters_follow_from_the_config(model: Model) -> None:
    """A wrong layer, width, vocabulary or expert can't hide: the number is the published one."""
    assert recount.parameters(model.config) == pytest.approx(model.parameters, rel=0.005)
    assert model.shape().parameters == model.parameters
    plain = model.kind == "text" and not model.config.keys() & {"kv_lora_rank", "full_attention_interval"}
    if plain:
        assert model.formula_shape().parameters == pytest.approx(model.parameters, rel=0.02)


def test_a_wrong_fact_is_seen() -> None:
    config = {**BY_NAME["qwen3-8b"].config, "num_hidden_layers": 35}
    assert recount.parameters(config) != pytest.approx(BY_NAME["qwen3-8b"].parameters, rel=0.005)


def test_a_model_by_any_of_its_names() -> None:
    llama = BY_NAME["llama-3.1-8b"]
    for name in ("llama-3.1-8b", "LLaMA-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", llama.modelscope):
        assert catalogue.find(name) is llama
        assert catalogue.name_at("huggingface", name) == "meta-llama/Llama-3.1-8B-Instruct"
        assert catalogue.name_at("modelscope", name) == "LLM-Research/Meta-Llama-3.1-8B-Instruct"
    assert catalogue.hub_name("Llama-3.1-8b") == llama.huggingface
    assert catalogue.hub_name(llama.modelscope) == llama.modelscope
    for hub in ("huggingface", "modelscope"):
        assert catalogue.name_at(hub, "somebody/else") == "somebody/else"


def test_families() -> None:
    assert {model.family for model in catalogue.of_family("QWEN3")} == {"Qwen3", "Qwen3-VL", "Qwen3-Next", "Qwen3.5"}
    assert catalogue.of_family(None) == EVERY
    with pytest.raises(UsageError, match="nosuch"):
        catalogue.of_family("nosuch")


@pytest.mark.parametrize("name", ["T4", "A10", "4090", "held 4090", "A100 80", "M2 16", "P100", "small processor"])
def test_groups_say_what_the_plan_says(name: str, home: Path) -> None:
    machine = MACHINES[name]
    for fit in fitting.fits(machine, "finetune"):
        made = plan(machine, fit.model.shape())
        if fit.group == "runs":
            assert (made.verdict, made.method) == ("fits", fit.method)
            assert f"{made.length} tokens" in fit.sentence and f"{made.memory.total_gib:.1f} GiB" in fit.sentence
        elif fit.group == "runs_if":
            assert re.search(r"instead of|^close |^only just", fit.sentence)
            assert made.verdict != "exceeds" or fit.sentence.startswith("close ")
        else:
            assert made.verdict == "exceeds" and f"needs {made.memory.total_gib:.1f} GiB" in fit.sentence
            assert fit.memory_gib > made.free_gib


@pytest.mark.parametrize("name", ["T4", "4090", "held 4090", "A100 80", "M2 16", "processor"])
def test_serving_groups_say_what_the_serving_plan_says(name: str, home: Path) -> None:
    machine = MACHINES[name]
    for fit in fitting.fits(machine, "serve"):
        wanted = min(8192, fit.model.context)
        if fit.group == "runs":
            made = serving_plan(machine, fit.model.shape(), length=wanted)
            assert made.length == wanted and fit.memory_gib == made.memory.total_gib
        elif fit.group == "runs_if":
            assert re.search(r"instead of|^close ", fit.sentence)
        else:
            with pytest.raises(Exception, match="too large"):
                serving_plan(machine, fit.model.shape())


@pytest.mark.parametrize("purpose", fitting.PURPOSES)
@pytest.mark.parametrize("name", ["T4", "4060", "4090", "A100 40", "M2 16", "processor"])
def test_a_larger_model_never_fits_better(name: str, purpose: str, home: Path) -> None:
    order = ("runs", "runs_if", "does_not")
    groups = [order.index(fit.group) for fit in fitting.fits(MACHINES[name], purpose, DENSE)]
    assert groups == sorted(groups)


def test_the_change_and_what_it_brings(home: Path) -> None:
    def said(machine: str, purpose: str, model: str) -> tuple[str, str]:
        (fit,) = fitting.fits(MACHINES[machine], purpose, [BY_NAME[model]])
        return fit.group, re.sub(r"[\d.]+ GiB", "N GiB", re.sub(r"instead of [\d.]+$", "instead of N", fit.sentence))

    assert said("4090", "finetune", "qwen3-0.6b") == ("runs", "LoRA, 2048 tokens: N GiB")
    assert said("4090", "finetune", "qwen3-14b") == ("runs_if", "QLoRA instead of LoRA: N GiB instead of N")
    closed = "close what holds N GiB; then QLoRA, 2048 tokens: N GiB"
    assert said("held 4090", "finetune", "qwen3-32b") == ("runs_if", closed)
    assert said("4090", "finetune", "llama-3.3-70b") == ("does_not", "needs N GiB; the card has 24.0")
    assert said("4090", "serve", "qwen3-14b") == ("runs_if", "a 4-bit copy (AWQ), 8192 tokens: N GiB instead of N")
    assert said("processor", "finetune", "llama-3.3-70b") == ("does_not", "needs N GiB; there are 32.0")


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_beginner_is_offered(name: str, home: Path) -> None:
    found = fitting.suggested(MACHINES[name])
    assert 1 <= len(found) <= 6
    sizes = [model.parameters for model, _fits in found]
    assert sizes == sorted(sizes)
    assert all(fits for _model, fits in found) or len(found) == 1
    assert all(not model.gated and "zh" in model.languages for model, _fits in found)


def test_more_memory_offers_no_less(home: Path) -> None:
    small, large = (max(m.parameters for m, _ in fitting.suggested(MACHINES[n])) for n in ("4060", "A100 80"))
    assert small < large
    tiny = MACHINES["small processor"]
    empty = replace(tiny, cpu=replace(tiny.cpu, memory_gib=0.5, free_gib=0.2))
    assert [(model.name, fits) for model, fits in fitting.suggested(empty)] == [("qwen3-0.6b", False)]
