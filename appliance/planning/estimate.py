"""How much memory a training step takes: a physical formula, a few constants, no torch.

    peak = weights + adapter + gradients + optimizer + max(forward and backward, the optimizer's step) + context
    forward and backward = stored activations + max(logits, one layer's backward pass)

Logits and the work of one layer are never alive together: the loss is done before the first layer's backward pass.
All sizes are GiB (2^30 bytes). docs/estimate.md has every constant with its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.planning import activations
from appliance.planning.shape import Shape
from appliance.planning.training import Training
from appliance.planning.weights import HALF, unpacked_bytes, weight_bytes

GIB = 2**30

# CUDA context, cuBLAS workspaces and the kernels themselves: what a device shows beside torch's own figures.
CONTEXT_CUDA_GIB = 0.5
# Python, torch and transformers as resident memory, no model loaded.
CONTEXT_CPU_GIB = 0.7
# What torch allocates before any model: cuBLAS's workspace (32 MiB on current cards) and small things.
WORKSPACE_GIB = 0.05
# The allocator keeps freed blocks; with rows of different lengths they seldom fit again. Share of what comes and goes.
FRAGMENTATION = 0.50
# Moments of the optimizers in bytes a trained value, by the value's own width in bytes. In 8 bits: with their scales.
_STATES_8BIT = 2.04
# The plain AdamW computes all its denominators at once: one more copy of what is trained, at the step.
_FOREACH = ("adamw_torch", "adamw", "adam")
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


def summed(parts: dict[str, float]) -> Estimate:
    """Parts in bytes to an estimate in GiB."""
    gib = {name: value / GIB for name, value in parts.items()}
    total, weights = sum(gib.values()), gib["weights"]
    rest = total - weights
    low, high = WEIGHTS_LOW * weights + REST_LOW * rest, WEIGHTS_HIGH * weights + REST_HIGH * rest
    return Estimate(total, low, high, gib)


BUCKETS = 3
SPARE, SPARE_MOST_GIB = 1.0, 4.0


def readings(parts: dict[str, float], moving: float, figure: str, device: str, large: float = 0.0) -> dict[str, float]:
    """The parts with what that reading counts beside torch's own allocations. `moving`: bytes that come and go."""
    parts = {**parts, "workspace": WORKSPACE_GIB * GIB if device == "cuda" else 0.0}
    if figure in ("reserved", "device"):
        parts["fragmentation"] = FRAGMENTATION * moving + min(SPARE * large, SPARE_MOST_GIB * GIB)
    if figure == "device":
        parts["context"] = (CONTEXT_CUDA_GIB if device == "cuda" else CONTEXT_CPU_GIB) * GIB
    return parts


def estimate(
    shape: Shape,
    *,
    method: str,
    rank: int,
    micro_batch: int,
    length: int,
    **settings: Any,
) -> Estimate:
    """Peak memory of one training step; `settings` are Training's fields."""
    return training_estimate(shape, Training(method=method, rank=rank, batch=micro_batch, length=length, **settings))


def training_estimate(shape: Shape, run: Training) -> Estimate:
    """Peak memory of one training step on one card."""
    quant = run.quant or ("nf4-dq" if run.method == "qlora" else None)
    # Transformers keeps a mixture's experts as one parameter, which its own 4-bit loader does not reach.
    weights = weight_bytes(shape, quant, run.dtype_bytes, experts=run.quant is not None)
    if run.loss == "chunked" and shape.tied:  # LitGPT, whose way this is, holds the head as a matrix of its own
        weights += shape.vocab * shape.hidden * run.dtype_bytes
    pieces = _trained(shape, run)
    adapter = sum(count * width for count, width in pieces)
    gradients, states = adapter, sum(count * _state_bytes(run, width) for count, width in pieces)
    kept, live = activations.layer_kept(shape, run), activations.layer_live(shape, run)
    if quant:
        live += unpacked_bytes(shape, quant)
    if quant and quant.startswith("gptq"):
        live += HALF * shape.linear_parameters / shape.layers + 4 * unpacked_bytes(shape, quant) / HALF
    if run.method == "dora":
        live += 4 * max((a * b for a, b, _n in shape.linear_matrices), default=0)
    if run.checkpointing:
        stored, live = activations.between_layers(shape, run), live + kept
    else:
        stored = kept * shape.layers + activations.between_layers(shape, run) * 4 / (4 + shape.layers * run.dtype_bytes)
    head = activations.logit_bytes(shape, run)
    step = gradients * run.share if run.optimizer in _FOREACH else 0.0
    buffers = 0.0
    if run.deepspeed:
        trained = sum(count for count, _width in pieces)
        adapter, gradients, states = 2.0 * trained, (2.0 + 4.0) * trained, (4.0 + 8.0) * trained
        buffers = BUCKETS * 2 * 2e8 if run.sharding == "zero2" else 2 * 1e9
        buffers = min(buffers, 3*2*shape.parameters)
        step = 4.0 * min(1e9, trained * run.share)
    moving = max(stored + max(head, live), step)
    parts = {
        "weights": weights * run.weights_share,
        "adapter": float(adapter) if run.adapted else 0.0,
        "gradients": gradients * run.share,
        "optimizer": states * run.share,
        "logits": min(head, moving),
    }
    parts["activations"] = moving - parts["logits"]
    if buffers:
        parts["communication"] = buffers
    if run.method == "full" and run.task in ("dpo", "kto"):
        parts["reference"] = weights * run.weights_share
    return summed(readings(parts, moving, run.figure, run.device, head if run.loss == "plain" and not run.deepspeed else 0.0))


def _trained(shape: Shape, run: Training) -> list[tuple[int, int]]:
    """(how many values are trained, bytes of each)."""
    if not run.adapted:
        return [(shape.parameters, run.dtype_bytes)]
    count = shape.lora_parameters(run.rank, run.targets)
    if run.method == "dora":  # magnitudes: one number for each output
        count += sum(b * n for _a, b, n in shape.linear_matrices)
    # PEFT keeps adapters in float32; TRL, and so this appliance, in 16 bits over 4-bit weights.
    pieces = [(count, HALF if run.method == "qlora" and not run.foreign else 4)]
    return [*pieces, (shape.vocab * shape.hidden * len(run.whole), run.dtype_bytes)]


def _state_bytes(run: Training, width: int) -> float:
    if "8bit" in run.optimizer:
        return _STATES_8BIT
    if run.optimizer.startswith("sgd"):
        return 0.0
    if "32bit" in run.optimizer:
        return 8.0
    return 2.0 * width
