"""The formula against figures worked out by hand, and what must hold whatever the numbers."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.planning.estimate import GIB, estimate
from appliance.planning.serving_estimate import serving_estimate
from appliance.planning.weights import KINDS

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
    start = time.process_time()
    for _ in range(10):
        headline(MACHINES["A10"])
    assert (time.process_time() - start) / 10 < 0.005
    script = (
        "import sys; from appliance.hardware import probe; from appliance.planning.headline import headline;"
        "headline(probe()); print([n for n in ('pydantic', 'tomllib', 'torch', 'numpy', 'psutil') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
