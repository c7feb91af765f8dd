"""What training adds to the weights: the trained values, their gradients, the optimizer's state and its step."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.shape import Shape
from appliance.planning.training import Training
from appliance.planning.weights import HALF

# Two moments in 8 bits, and a float32 scale for each block of 256 of them (Dettmers et al. 2021).
STATES_8BIT = 2 * (1 + 4 / 256)
# The plain AdamW of PyTorch works on all parameters at once ("foreach") and makes one more copy of them at its step.
GALORE = "galore"
FOREACH = ("adamw_torch", "adamw", "adam")
# DeepSpeed trains a 16-bit copy of float32 values: 4 bytes each for those, their gradients and two moments; its step
# goes over 10^9 values at a time with a float32 copy of them.
ENGINE_GRADIENTS, ENGINE_STATES, ENGINE_STEP, ENGINE_GROUP = 2 + 4, 4 + 4 + 4, 4, 1e9
# Its buffers: ZeRO-2 gathers and reduces (twice, to overlap) in buckets of 2 × 10^8 values, ZeRO-3 keeps up to 10^9
# gathered values alive (the settings of most published configurations).
ZERO2_BUFFER, ZERO3_BUFFER = 3 * 2e8 * 2, 1e9 * 2


@dataclass(frozen=True)
class Cost:
    """Bytes on one card. `step` lives only while the optimizer works, when the activations are gone."""

    adapter: float
    gradients: float
    states: float
    step: float
    buffers: float


def training_cost(shape: Shape, run: Training) -> Cost:
    """What is trained and what that takes, shared between the cards as `run.sharding` says."""
    pieces = _pieces(shape, run)
    count = sum(n for n, _width in pieces)
    own = sum(n * width for n, width in pieces)
    if run.deepspeed:
        buffer = ZERO2_BUFFER if run.sharding == "zero2" else ZERO3_BUFFER
        return Cost(
            adapter=float(HALF * count) if run.adapted else 0.0,
            gradients=float(ENGINE_GRADIENTS * count * run.share),
            states=float(ENGINE_STATES * count * run.share),
            step=float(ENGINE_STEP * min(ENGINE_GROUP, count * run.share)),
            buffers=min(buffer, float(HALF * shape.parameters)),
        )
    states = sum(n * _state_bytes(run.optimizer, width) for n, width in pieces)
    if run.optimizer == GALORE:
        states = _projected_states(shape, run.rank)
    return Cost(
        adapter=float(own) if run.adapted else 0.0,
        gradients=own * run.share,
        states=states * run.share,
        step=own * run.share if run.optimizer in FOREACH else 0.0,
        # Data parallel: gradients once more, in the buckets that are exchanged.
        buffers=float(own) if run.sharding == "ddp" else 0.0,
    )


def _pieces(shape: Shape, run: Training) -> list[tuple[int, int]]:
    """(how many values are trained, bytes of each)."""
    if not run.adapted:
        return [(shape.parameters, 4 if run.float_weights else run.dtype_bytes)]
    count = shape.lora_parameters(run.rank, run.targets)
    if run.method == "dora":  # magnitudes: one number for each output
        roles = shape.named_matrices
        count += sum(out * n for role in run.targets or roles for _in, out, n in roles.get(role, ()))
    whole = shape.vocab * shape.hidden * (min(len(run.whole), 1) if shape.tied else len(run.whole))
    return [(count, HALF if run.sixteen_bit_adapter else 4), (whole, run.dtype_bytes)]


def _projected_states(shape: Shape, rank: int) -> float:
    """GaLore's: two moments of a linear layer's longer side × rank and the directions of its shorter one, all float32;
    plain AdamW's for everything else."""
    projected = sum(n * rank * (2 * max(a, b) + min(a, b)) for a, b, n in shape.linear_matrices)
    return 4.0 * projected + 8.0 * (shape.parameters - shape.linear_parameters)


def _state_bytes(optimizer: str, width: int) -> float:
    """Bytes a trained value; plain optimizers keep their moments in the value's own type."""
    if "8bit" in optimizer:
        return STATES_8BIT
    if "32bit" in optimizer:
        return 8.0
    if optimizer.startswith("sgd"):
        return 0.0
    if optimizer.startswith(("lion", "muon")):
        return float(width)
    return 0.1 if optimizer.startswith("adafactor") else 2.0 * width
