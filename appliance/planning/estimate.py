"""How much memory a training step takes: a physical formula, a few constants, no torch.

    peak = weights + adapter + gradients + optimizer + max(forward and backward, the optimizer's step) + context
    forward and backward = stored activations + max(logits, one layer's backward pass)

Logits and the work of one layer are never alive together: the loss is done before the first layer's backward pass.
All sizes are GiB (2^30 bytes). docs/estimate.md has every constant with its source and how well it predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.planning import activations
from appliance.planning.shape import Shape
from appliance.planning.trained import training_cost
from appliance.planning.training import Training
from appliance.planning.weights import gathered_bytes, packed_kind, weight_bytes

GIB = 2**30

# CUDA context, the kernels themselves and the driver's own: what a device shows beside torch's figures (0.3 to 0.6).
CONTEXT_CUDA_GIB = 0.6
# Python, torch and transformers as resident memory, no model loaded.
CONTEXT_CPU_GIB = 0.7
# What torch allocates beside the model: cuBLAS's workspace (32 MiB on current cards), random states, batches.
WORKSPACE_GIB = 0.05
# Reserved over allocated: the allocator rounds up, and keeps freed blocks that do not fit what comes next.
FRAGMENTATION = 0.15
# All logits at once are its worst case: blocks of hundreds of megabytes, of another size for each length of rows, in
# trainers that keep a copy or two of them besides. Freed ones of other sizes stay: up to 2.5 times what is in use at
# once, and no more than that many GiB.
SPARE, SPARE_MOST_GIB = 2.5, 11.0
# How far below and above the figure may be: weights are known to the byte, the rest is a model of it. Nine in ten of
# the open figures lie inside; what all logits at once leave behind varies most.
WEIGHTS_LOW, WEIGHTS_HIGH, REST_LOW, REST_HIGH, REST_HIGH_LARGE = 0.99, 1.02, 0.75, 1.25, 1.4


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


def readings(parts: dict[str, float], figure: str, device: str, *, moving: float, large: float = 0.0) -> Estimate:
    """The estimate for that reading: what torch allocated, what it reserved, or what the device shows.

    moving  bytes that come and go · large  those of them in blocks of all logits
    """
    parts = {**parts, "workspace": WORKSPACE_GIB * GIB if device == "cuda" else 0.0}
    if figure != "allocated" and device != "cpu":  # a processor's large blocks go back to the system at once
        parts["fragmentation"] = FRAGMENTATION * moving + min(SPARE * large, SPARE_MOST_GIB * GIB)
    if figure == "device":
        parts["context"] = (CONTEXT_CUDA_GIB if device == "cuda" else CONTEXT_CPU_GIB) * GIB
    gib = {name: value / GIB for name, value in parts.items()}
    total, weights = sum(gib.values()), gib["weights"]
    rest = total - weights
    low = WEIGHTS_LOW * weights + REST_LOW * rest
    high = WEIGHTS_HIGH * weights + (REST_HIGH_LARGE if large else REST_HIGH) * rest
    return Estimate(total, low, high, gib)


def estimate(shape: Shape, *, method: str, rank: int, micro_batch: int, length: int, **settings: Any) -> Estimate:
    """Peak memory of one training step of this appliance's worker; `settings` are further fields of Training."""
    return estimate_training(shape, Training(method=method, rank=rank, batch=micro_batch, length=length, **settings))


def estimate_training(shape: Shape, run: Training) -> Estimate:
    """Peak memory of one training step on one card."""
    quant = run.quant or packed_kind(shape) or ("nf4-dq" if run.method == "qlora" else None)
    # Transformers keeps a mixture's experts as one parameter, which its own 4-bit loader does not reach.
    weights = weight_bytes(shape, quant, run.dtype_bytes, experts=quant != "nf4-dq" or not run.ours)
    if run.loss == "chunked" and shape.tied:  # LitGPT, whose way that is, holds the head as a matrix of its own
        weights += shape.vocab * shape.hidden * run.dtype_bytes
    if run.float_weights:
        weights += 4 * shape.parameters  # 16-bit copies of all are made in the forward pass, and stay until its end
    cost = training_cost(shape, run)
    head = activations.logit_bytes(shape, run)
    working = activations.working_bytes(shape, run, quant, head)
    working += gathered_bytes(shape, run.dtype_bytes, sharding=run.sharding, gpus=run.gpus)
    moving = max(working, cost.step, _sampling(shape, run))
    logits = min(head, moving)
    parts = {
        "weights": weights * run.weights_share,
        "adapter": cost.adapter,
        "gradients": cost.gradients,
        "optimizer": cost.states,
        "activations": moving - logits,
        "logits": logits,
    }
    if run.method == "full" and run.task in ("dpo", "kto"):  # an adapter is its own reference when it is switched off
        parts["reference"] = parts["weights"]
    if cost.buffers:
        parts["communication"] = cost.buffers
    large = head if run.loss == "plain" and not run.deepspeed else 0.0
    return readings(parts, run.figure, run.device, moving=moving, large=large)


def _sampling(shape: Shape, run: Training) -> float:
    """Bytes while GRPO samples its answers: keys and values of all of them, and their next words' logits."""
    if run.task != "grpo":
        return 0.0
    answers = max(run.batch, run.generations)
    keys_and_values = 2 * shape.layers * shape.kv_width * run.dtype_bytes * run.length
    return float(answers * (keys_and_values + shape.vocab * (run.dtype_bytes + 4)))
