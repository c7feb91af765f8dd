"""What two peers would say, written anew from their published descriptions, in GiB."""

from __future__ import annotations

from typing import Any

from appliance.planning.estimate_words import read_settings
from appliance.planning.shape import Shape
from appliance.planning.training import Training

GIB = 2**30


def unsloth_studio(shape: Shape, words: dict[str, Any]) -> float:
    """Source: Unsloth Studio, VRAM_ESTIMATION.md (formula and constants as described there)."""
    run = read_settings(words)
    assert isinstance(run, Training)
    hidden, kv, width = shape.hidden, shape.kv_width, shape.expert_intermediate or shape.intermediate
    experts = max(1, shape.experts)
    per_layer = 2 * hidden * (hidden + kv) + 3 * hidden * width * experts + (hidden * experts if experts > 1 else 0)
    packable = per_layer * shape.layers
    rest = 2 * hidden * shape.layers + shape.vocab * hidden * (1 if shape.tied else 2)
    four_bit = run.method == "qlora"
    weights = (packable * 2 / (3.6 if run.quant == "nf4-dq" else 3.2) if four_bit else packable * 2) + rest * 2
    if run.adapted:
        # Embeddings and head named as targets are trained whole.
        trained = shape.lora_parameters(run.rank, run.targets) + shape.vocab * hidden * len(run.whole)
    else:
        trained = packable + rest
    adapter = trained * 2 if run.adapted else 0
    optimizer = trained * (4 if "8bit" in run.optimizer else 6)
    tokens = run.batch * run.length
    mlp = width * max(1, shape.experts_per_token)
    one_layer = (tokens * (hidden + 2 * kv) + tokens * 2 + tokens * 2 * mlp) * 2 * 1.25
    layers = (1 if run.adapted else 2) if run.checkpointing else shape.layers
    activations = one_layer * layers
    if run.attention == "eager":
        scores = run.batch * shape.heads * run.length**2 * 2 * 12 * layers
        activations = max(activations, scores)
    floor = weights * 0.15
    if run.adapted:
        floor = min(floor, max(activations, optimizer))
    gradients = max(trained * 2, floor)
    return (weights + adapter + optimizer + gradients + activations) / GIB + 1.4


def llama_factory(shape: Shape, words: dict[str, Any]) -> float:
    """Source: LLaMA-Factory's README, "Hardware Requirement", column xB: GB for each billion parameters.

    Its figures for full training are those of pure bf16, as all of these runs are.
    """
    run = read_settings(words)
    assert isinstance(run, Training)
    billions = shape.parameters / 1e9
    if run.method == "full":
        return 8 * billions
    if run.method != "qlora" and run.quant is None:
        return 2 * billions
    return billions * (1 if run.quant in ("int8", "gptq-int8", "fp8") else 0.5)
