"""The formula against figures worked out by hand, and what must hold whatever the numbers."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.planning.activations import layer_kept
from appliance.planning.estimate import CONTEXT_CUDA_GIB, GIB, estimate, estimate_training
from appliance.planning.serving_estimate import Serving, estimate_serving, serving_estimate
from appliance.planning.shape import Shape
from appliance.planning.training import FIGURES, Training
from appliance.planning.weights import KINDS, packed_kind, weight_bytes

sys.path.insert(0, str(Path(__file__).parent))
from machines import MACHINES, MODELS, TINY

from appliance.planning.headline import headline

EIGHT = MODELS["8B"]


def test_weights_by_hand() -> None:
    # Qwen3-8B has 8.19 billion parameters: 15.26 GiB in 16 bits.
    assert EIGHT.parameters == pytest.approx(8.19e9, rel=0.002)
    lora = estimate(EIGHT, method="lora", rank=16, micro_batch=1, length=1024)
    assert lora.parts["weights"] == pytest.approx(15.26, abs=0.02)
    # 4 bits: 6.95 billion in linear layers at 0.516 bytes, 1.245 billion in embeddings and head at 2.
    qlora = estimate(EIGHT, method="qlora", rank=16, micro_batch=1, length=1024)
    assert qlora.parts["weights"] == pytest.approx((6.946e9 * 0.5159 + 1.245e9 * 2) / GIB, rel=0.002)
    assert pytest.approx(0.5159, abs=1e-4) == KINDS["nf4-dq"]


def test_adapter_by_hand() -> None:
    # A layer: q 4096+4096, k and v 4096+1024 each, o 4096+4096, gate, up, down 4096+12288 each; × rank 16 × 36 layers.
    assert EIGHT.lora_parameters(16) == 16 * 36 * (2 * 8192 + 2 * 5120 + 3 * 16384) == 43_646_976
    parts = estimate(EIGHT, method="lora", rank=16, micro_batch=1, length=1024).parts
    assert parts["adapter"] == parts["gradients"] == pytest.approx(43_646_976 * 4 / GIB)
    assert parts["optimizer"] == pytest.approx(43_646_976 * 8 / GIB)


def test_a_figure_from_fake_tensors() -> None:
    """Qwen3-8B, LoRA rank 16, checkpointing, all logits at once: 17.8 GiB allocated at 1024 tokens, 23.9 at 4096."""
    for length, allocated in ((1024, 17.8), (4096, 23.9)):
        made = estimate(EIGHT, method="lora", rank=16, micro_batch=1, length=length, loss="plain", figure="allocated")
        assert made.total_gib == pytest.approx(allocated, rel=0.04)


@pytest.mark.parametrize(("task", "measured"), [("dpo", 2.63), ("sft", 1.60), ("kto", 1.58)])
def test_a_large_vocabulary_on_a_processor(task: str, measured: float) -> None:
    """Resident memory of the worker (TRL 1.16, torch 2.13, 2026-11-22): 2 rows of 512 tokens, 60,000 words."""
    shape = replace(
        TINY, layers=2, hidden=64, heads=2, kv_heads=1, head_dim=32, intermediate=128, vocab=60_000, tied=True
    )
    made = estimate(
        shape, method="lora", rank=16, micro_batch=2, length=512, dtype_bytes=4, device="cpu", task=task,
        checkpointing=False,
    )  # fmt: skip
    assert made.low_gib < measured < made.high_gib and made.total_gib == pytest.approx(measured, rel=0.2)


def test_full_and_dora() -> None:
    full = estimate(TINY, method="full", rank=1, micro_batch=1, length=64, dtype_bytes=4, device="cpu").parts
    assert full["gradients"] == full["weights"] == full["optimizer"] / 2
    lora, dora = (estimate(EIGHT, method=m, rank=8, micro_batch=1, length=64).total_gib for m in ("lora", "dora"))
    assert dora > lora


def test_experts_are_all_loaded_and_stay_in_16_bits() -> None:
    # The shape of Qwen3-30B-A3B: 30.5 billion parameters, of which 3.3 work on one token.
    moe = replace(
        EIGHT, layers=48, hidden=2048, heads=32, kv_heads=4, intermediate=6144,
        experts=128, experts_per_token=8, expert_intermediate=768,
    )  # fmt: skip
    assert moe.parameters == pytest.approx(30.5e9, rel=0.01)
    assert moe.active_parameters == pytest.approx(3.0e9, rel=0.1)
    assert estimate(moe, method="qlora", rank=8, micro_batch=1, length=512).parts["weights"] > 54


def test_serving_by_hand() -> None:
    made = serving_estimate(EIGHT, 4096, parallel=4)
    # 2 × 36 layers × 8 heads × 128 × 2 bytes = 147,456 bytes a token.
    assert made.parts["kv_cache"] == pytest.approx(147_456 * 4096 * 4 / GIB)
    assert made.total_gib == pytest.approx(sum(made.parts.values()))


def _kept(kind: str, **settings: Any) -> dict[str, float]:
    """Bytes that a layer keeps for a token, by a unit of each dimension, by the formula, with a small adapter."""
    shape = replace(Shape("", 1, 1024, 16, 8, 64, 3072, 32000, False), **FAMILIES[kind])
    run = Training(length=512, rank=1, **settings)

    def kept(**changes: Any) -> float:
        return layer_kept(replace(shape, **changes), run, masked=run.batch > 1) / run.tokens

    base = kept()
    return {
        "hidden": (kept(hidden=2048) - base) / 1024,
        "heads": (kept(heads=32) - base) / 1024,
        "kv": (kept(kv_heads=16) - base) / 512,
        "mlp": (kept(intermediate=6144) - base) / 3072,
    }


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"qk_norm": True},
    "phi3": {"fused_qkv": True, "fused_mlp": True},
    "gemma3": {"qk_norm": True, "norms": 4, "float_norms": True},
    "gemma2": {"own_scores": True, "norms": 4, "float_norms": True},
}


@pytest.mark.parametrize(
    ("kind", "settings", "counted"),
    [
        ("llama", {"method": "lora"}, (18, 6, 4, 8)),
        ("llama", {"method": "lora", "batch": 2}, (18, 10, 0, 8)),
        ("llama", {"method": "lora", "targets": ("q", "v")}, (12, 4, 4, 6)),
        ("llama", {"method": "full"}, (16, 4, 4, 8)),
        ("llama", {"method": "qlora"}, (12, 4, 4, 8)),
        ("llama", {"method": "lora", "attention": "eager"}, (18, 10 + 512 * 6 / 64, 0, 8)),
        ("llama", {"method": "lora", "loss": "plain"}, (18, 10, 0, 8)),
        ("llama", {"method": "dora"}, (26, 10, 12, 16)),
        ("qwen3", {"method": "lora"}, (18, 10, 8, 8)),
        ("qwen3", {"method": "full"}, (16, 10, 10, 8)),
        ("phi3", {"method": "lora"}, (12, 8, 6, 8)),
        ("gemma3", {"method": "full"}, (36, 12, 12, 8)),
        ("gemma2", {"method": "qlora"}, (20, 8 + 512 * 8 / 64, 0, 8)),
    ],
)
def test_what_a_layer_keeps(kind: str, settings: dict[str, Any], counted: tuple[float, ...]) -> None:
    """Whole numbers, as transformers' own layers give them under fake tensors, one dimension changed at a time."""
    assert tuple(_kept(kind, **settings).values()) == pytest.approx(counted, abs=0.08)


def _total(**settings: Any) -> float:
    return estimate_training(EIGHT, Training(**settings)).total_gib


def test_readings_stand_in_their_order() -> None:
    for settings in ({}, {"loss": "plain"}, {"method": "full"}, {"checkpointing": False, "batch": 4}):
        allocated, reserved, device = (_total(figure=figure, **settings) for figure in FIGURES)
        assert allocated < reserved < device
    assert _total(figure="device") - _total(figure="reserved") == pytest.approx(CONTEXT_CUDA_GIB)


def test_logits_by_kind_of_loss() -> None:
    fused, chunked, plain = (_total(loss=loss, length=8192) for loss in ("fused", "chunked", "plain"))
    assert fused < chunked < plain
    made = estimate_training(EIGHT, Training(loss="plain", length=8192, figure="allocated"))
    assert made.parts["logits"] == pytest.approx(8192 * (151936 * 12 + 4096 * 4) / GIB)
    # One number a row instead of a word's probabilities.
    assert estimate_training(EIGHT, Training(task="reward", loss="plain")).parts["logits"] == 0


def test_pairs_and_references() -> None:
    sft, dpo, kto = (_total(task=task, length=4096) for task in ("sft", "dpo", "kto"))
    assert sft == kto < dpo == _total(batch=2, length=4096)
    full = estimate_training(EIGHT, Training(task="dpo", method="full")).parts
    assert full["reference"] == full["weights"]
    assert "reference" not in estimate_training(EIGHT, Training(task="dpo")).parts
    grpo = [_total(task="grpo", length=4096, generations=answers) for answers in (1, 64)]
    # 64 × 4096 tokens of keys and values, 147,456 bytes each.
    assert grpo[1] - grpo[0] > 30


def test_several_cards_share() -> None:
    def parts(sharding: str) -> dict[str, float]:
        return estimate_training(EIGHT, Training(method="full", gpus=4, sharding=sharding)).parts

    alone, data, zero2, zero3, fsdp = (parts(sharding) for sharding in ("none", "ddp", "zero2", "zero3", "fsdp"))
    assert data["communication"] == alone["gradients"] == alone["weights"]
    # 12 bytes a value of float32 states, on four cards.
    assert zero2["optimizer"] == zero3["optimizer"] == pytest.approx(EIGHT.parameters * 12 / 4 / GIB)
    assert zero2["weights"] == alone["weights"]
    assert zero3["weights"] == fsdp["weights"] == alone["weights"] / 4
    assert fsdp["optimizer"] == alone["optimizer"] / 4
    assert sum(fsdp.values()) < sum(zero2.values()) < sum(data.values())


def test_optimizers() -> None:
    assert _total(method="full", optimizer="adamw_8bit") < _total(method="full", optimizer="adamw_torch_fused")
    # The plain one makes a copy of all parameters at its step, when activations are gone.
    made = estimate_training(EIGHT, Training(method="full", optimizer="adamw_torch", figure="allocated"))
    assert made.parts["activations"] + made.parts["logits"] == pytest.approx(made.parts["weights"])
    assert made.total_gib == pytest.approx(5 * made.parts["weights"], rel=0.01)


def test_packed_weights() -> None:
    sizes = [weight_bytes(EIGHT, kind, 2) for kind in ("nf4-dq", "nf4", "int8", "gptq-int8", None)]
    assert sizes == sorted(sizes)
    gptq = replace(EIGHT, quantised="gptq", quantised_bits=8)
    assert serving_estimate(gptq, 1024).parts["weights"] == pytest.approx(sizes[3] / GIB)
    assert packed_kind(replace(EIGHT, quantised="awq", quantised_bits=4)) == "awq"
    # Another trainer's 4 bits: adapters in float32, and inputs kept where nothing is computed twice.
    theirs, own = (Training(method="qlora", quant=quant, checkpointing=False) for quant in ("nf4-dq", None))
    assert estimate_training(EIGHT, theirs).parts["adapter"] == 2 * estimate_training(EIGHT, own).parts["adapter"]
    assert estimate_training(EIGHT, theirs).total_gib > 1.2 * estimate_training(EIGHT, own).total_gib


def test_serving_reads_then_writes() -> None:
    def served(**settings: Any) -> float:
        return estimate_serving(EIGHT, Serving(length=16384, figure="allocated", **settings)).total_gib

    # Half of the keys and values still to come are more than the work of reading the other half.
    assert served(prompt=1) == served(prompt=8192) < served()
    assert served(prompt=1) == pytest.approx(15.26 + 147_456 * 16384 / GIB, rel=0.005)
    assert served(logits="all") - served() > 10
    assert served(gpus=2) < 0.6 * served()


@given(
    method=st.sampled_from(["lora", "qlora", "dora", "full"]),
    rank=st.integers(1, 256),
    batch=st.integers(1, 32),
    length=st.integers(16, 32768),
    checkpointing=st.booleans(),
    loss=st.sampled_from(["plain", "chunked"]),
    model=st.sampled_from(sorted(MODELS)),
)
def test_more_of_anything_never_takes_less(
    method: str, rank: int, batch: int, length: int, checkpointing: bool, loss: str, model: str
) -> None:
    def total(**changes: int) -> float:
        values = {"rank": rank, "micro_batch": batch, "length": length, **changes}
        made = estimate(MODELS[model], method=method, checkpointing=checkpointing, loss=loss, **values)
        assert made.low_gib < made.total_gib < made.high_gib
        assert made.total_gib == pytest.approx(sum(made.parts.values()))
        assert min(made.parts.values()) >= 0
        return made.total_gib

    assert total() <= total(rank=rank + 8) <= total(rank=rank + 8, length=length + 100)
    assert total() <= total(micro_batch=batch + 1)


def test_headlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_LANG", "en")
    assert headline(MACHINES["A10"]) == ["24 GB: 8B models with LoRA, 32B with QLoRA."]
    assert headline(MACHINES["4090"]) == ["24 GB: 8B models with LoRA, 32B with QLoRA."]
    assert headline(MACHINES["processor"])[0].startswith("No GPU: small models up to about 0.6B")
    assert "10.0 GiB" in headline(MACHINES["held 4090"])[1]
    assert "535.1 is too old" in headline(MACHINES["old driver"])[0]
    assert headline(MACHINES["M2 16"])[0].startswith("16 GB shared memory")
    for machine in MACHINES.values():
        assert 1 <= len(headline(machine)) <= 2


def test_fast_and_light() -> None:
    spent = []
    for _ in range(10):
        start = time.process_time()
        headline(MACHINES["A10"])
        spent.append(time.process_time() - start)
    assert sorted(spent)[5] < 0.005  # one in which Python collects its garbage says nothing
    script = (
        "import sys; from appliance.hardware import probe; from appliance.planning.headline import headline;"
        "headline(probe()); print([n for n in ('pydantic', 'tomllib', 'torch', 'numpy', 'psutil') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
