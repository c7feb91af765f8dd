"""How much memory a training step or a server takes: a physical formula, a few constants, no torch.

    peak = weights + adapter + gradients + optimizer + stored activations + max(logits, one layer's work) + context

Logits and the work of one layer are never alive together: the loss is done before the first layer's backward pass.
All sizes are GiB (2^30 bytes) and mean the reading of nvidia-smi (on a processor: the resident memory).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.planning.shape import Shape

GIB = 2**30

# NF4 with double quantisation (Dettmers et al. 2023, section 3): half a byte a weight, one byte for each block of 64,
# and 4 bytes for each 256 such blocks.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# Embeddings, head and norms stay in 16 bits under QLoRA.
HALF = 2
# CUDA context, cuBLAS workspaces and the kernels themselves, as nvidia-smi counts them.
CONTEXT_CUDA_GIB = 0.6
# Python, torch and transformers as resident memory, no model loaded.
CONTEXT_CPU_GIB = 0.7
# Bytes per logit of the ordinary loss: 16-bit logits and their gradient (2 + 2), their float32 copy and its log-softmax
# or gradient (4 + 4). (Measured with fake tensors on Qwen3-8B: 12.0.)
LOGIT_BYTES = 12
# TRL's own loss goes over tiles of 4096 tokens × 32768 words and keeps one: in 16 bits on CUDA, where a Triton kernel
# turns it into its gradient in place; elsewhere it goes through about four copies in float32.
TILE_TOKENS, TILE_WORDS = 4096, 32768
TILE_BYTES_CUDA, TILE_BYTES_ELSEWHERE = 2, 4 + 4 * 4
# Bytes per state of the optimizers: two moments in float32, or in 8 bits with their scales.
OPTIMIZER_BYTES = {"adamw_torch": 8.0, "adamw_torch_fused": 8.0, "adamw_8bit": 2.04, "paged_adamw_8bit": 2.04}
# Backward through one layer: its recomputed activations and their gradients, which are freed as it goes.
BACKWARD = 1.5
# The allocator rounds up and leaves gaps between what is freed and taken again.
FRAGMENTATION = 1.08
# Weights are known to the byte; the rest is a model of it: how far below and above the figure may be.
WEIGHTS_LOW, WEIGHTS_HIGH, REST_LOW, REST_HIGH = 0.99, 1.02, 0.75, 1.25


@dataclass(frozen=True)
class Estimate:
    """A figure in GiB, the range it should be in, and what it is made of (`parts` add up to `total_gib`)."""

    total_gib: float
    low_gib: float
    high_gib: float
    parts: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "total_gib": round(self.total_gib, 3),
            "low_gib": round(self.low_gib, 3),
            "high_gib": round(self.high_gib, 3),
            "parts": {name: round(value, 3) for name, value in self.parts.items()},
        }


def _sum(parts: dict[str, float]) -> Estimate:
    """Parts in bytes to an estimate in GiB."""
    gib = {name: value / GIB for name, value in parts.items()}
    total, weights = sum(gib.values()), gib["weights"]
    rest = total - weights
    low, high = WEIGHTS_LOW * weights + REST_LOW * rest, WEIGHTS_HIGH * weights + REST_HIGH * rest
    return Estimate(total, low, high, gib)


def estimate(
    shape: Shape,
    *,
    method: str,
    rank: int,
    micro_batch: int,
    length: int,
    dtype_bytes: int = 2,
    optimizer: str = "adamw_torch",
    checkpointing: bool = True,
    loss: str = "chunked",
    device: str = "cuda",
) -> Estimate:
    """Peak memory of one training step.

    method        lora, dora, qlora or full
    micro_batch   rows at a time, each of `length` tokens
    dtype_bytes   of the weights and the arithmetic: 2 or 4
    loss          chunked (TRL's own: tiles), or plain (all logits at once, as other trainers do)
    device        cuda, mps or cpu: for what is there before any model
    """
    tokens = micro_batch * length
    weights = _weights(shape, method, dtype_bytes)
    if method == "full":
        # Moments have the weights' own type.
        trained, adapter_bytes, states = shape.parameters, 0, 2.0 * dtype_bytes
        states = states if optimizer.startswith("adamw_torch") else OPTIMIZER_BYTES.get(optimizer, 8.0)
        gradient_bytes = dtype_bytes
    else:
        # PEFT keeps adapters in float32 over 16-bit weights; TRL makes them 16-bit over 4-bit ones, moments included.
        trained = shape.lora_parameters(rank) + (_outputs(shape) if method == "dora" else 0)
        adapter_bytes = gradient_bytes = HALF if method == "qlora" else 4
        states = OPTIMIZER_BYTES.get(optimizer, 8.0)
    layer = _layer_bytes(shape, dtype_bytes, method != "full") * tokens
    # Between layers only their inputs are kept, when checkpointing; else everything that backward needs.
    stored = shape.layers * (shape.hidden * dtype_bytes * tokens if checkpointing else layer)
    live = (BACKWARD if checkpointing else BACKWARD - 1) * layer
    if method in ("qlora", "dora"):  # the 16-bit copy of the largest matrix while it is used
        live += max((a * b for a, b, _n in shape.linear_matrices), default=0) * (HALF if method == "qlora" else 4)
    head = _logits(shape, tokens, loss, dtype_bytes, device)
    moving = stored + max(head, live)
    parts = {
        "weights": weights,
        "adapter": float(trained * adapter_bytes),
        "gradients": float(trained * gradient_bytes),
        "optimizer": trained * states,
        "activations": stored + max(0.0, live - head) + (FRAGMENTATION - 1) * moving,
        "logits": head,
        "context": (CONTEXT_CUDA_GIB if device == "cuda" else CONTEXT_CPU_GIB) * GIB,
    }
    return _sum(parts)


def serving_estimate(
    shape: Shape, length: int, parallel: int = 1, dtype_bytes: int = 2, device: str = "cuda"
) -> Estimate:
    """Memory of a server that holds `parallel` conversations of `length` tokens: weights, keys and values, one step."""
    keys_and_values = 2 * shape.layers * shape.kv_width * dtype_bytes * length * parallel
    # Reading the question: one layer's work on all its tokens, and one row of logits for each conversation.
    step = _layer_bytes(shape, dtype_bytes, False) / 2 * length + parallel * shape.vocab * (dtype_bytes + 4)
    weights = _weights(shape, "qlora" if shape.quantised in ("bitsandbytes", "gptq", "awq") else "lora", dtype_bytes)
    return _sum(
        {
            "weights": weights,
            "kv_cache": float(keys_and_values),
            "activations": float(step),
            "context": (CONTEXT_CUDA_GIB if device == "cuda" else CONTEXT_CPU_GIB) * GIB,
        }
    )


def _weights(shape: Shape, method: str, dtype_bytes: int) -> float:
    """Bytes. Only linear layers go to 4 bits; what is no linear layer (embeddings, head, experts, vision) stays."""
    if method != "qlora":
        return float(shape.parameters * dtype_bytes)
    small = min(shape.linear_parameters, shape.parameters)
    return small * NF4_BYTES + (shape.parameters - small) * HALF


def _outputs(shape: Shape) -> int:
    """DoRA's magnitudes: one number per output of each linear layer."""
    return sum(out * n for _in, out, n in shape.linear_matrices)


def _layer_bytes(shape: Shape, dtype_bytes: int, adapters: bool) -> float:
    """What one layer keeps for its backward pass, per token."""
    hidden, wide, kv = shape.hidden, shape.attention_width, shape.kv_width
    if shape.experts:
        mlp = shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate
    else:
        mlp = shape.intermediate
    # Each norm: its input and the normalised value in float32, its output in the arithmetic's type.
    norms = 2 * hidden * (4 + 4 + dtype_bytes)
    # Queries, keys and values, once more after the rotation; attention's output.
    attention = (2 * (wide + 2 * kv) + wide) * dtype_bytes
    # Gate, its activation, up, and their product (or up and its activation).
    inner = (4 if shape.mlp_matrices == 3 else 2) * mlp * dtype_bytes
    # Each adapted matrix keeps its own cast copy of its input.
    copies = (3 * hidden + wide + (shape.mlp_matrices - 1) * hidden + mlp) * dtype_bytes if adapters else 0
    return norms + attention + inner + copies


def _logits(shape: Shape, tokens: int, loss: str, dtype_bytes: int, device: str) -> float:
    """Bytes around the output head at its worst moment."""
    if loss == "plain":
        return float(tokens * shape.vocab * LOGIT_BYTES)
    each = TILE_BYTES_CUDA if device == "cuda" else TILE_BYTES_ELSEWHERE
    tile = min(tokens, TILE_TOKENS) * min(shape.vocab, TILE_WORDS) * each
    return float(tile + tokens * shape.hidden * (4 + 2 * dtype_bytes))
