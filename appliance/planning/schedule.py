"""How long: batches, epochs, steps, seconds; and the disk that it takes."""

from __future__ import annotations

import math

from appliance.hardware.types import Accelerator
from appliance.locale import _
from appliance.planning.shape import Shape
from appliance.planning.way import WHOLE, Way

GIB = 2**30

# Fewer steps than this hardly change a model; more passes than that make it repeat its rows word for word.
_FEWEST_STEPS, _MOST_EPOCHS = 60, 10
# With that many rows, fewer passes are enough.
_MANY_ROWS, _VERY_MANY_ROWS = 5_000, 20_000
# Dense 16-bit tensor TFLOPS without sparsity, from NVIDIA's data sheets; the first name found in the card's counts.
_TFLOPS = (
    ("B200", 2250), ("H200", 990), ("H100", 990), ("H800", 990), ("H20", 148), ("A100", 312), ("A800", 312),
    ("A10G", 70), ("A10", 125), ("A30", 165), ("A40", 150), ("A6000", 155), ("L40", 181), ("L20", 119),
    ("L4", 121), ("T4", 65), ("V100", 112), ("5090", 209), ("4090", 165), ("4080", 97), ("3090", 71), ("3080", 60),
)  # fmt: skip
# What of it training reaches in practice; unpacking 4-bit weights costs some more.
_REACHED, _REACHED_4BIT = 0.35, 0.25
# What several cards reach of their sum: they exchange gradients (ddp), or the weights of every layer (fsdp).
_SHARED = {"ddp": 0.9, "zero2": 0.85, "fsdp": 0.5, "zero3": 0.5}
# float32 on one core with AVX2: about a quarter of its peak at 2 GHz. A cautious guess, not a measurement.
_CPU_GFLOPS_PER_CORE = 15
# Importing the libraries and loading the model; and what a step costs besides arithmetic.
_START_SECONDS, _STEP_SECONDS = 15, 0.05
# Checkpoints kept at a time, and one being written.
_CHECKPOINTS = 3


def effective_batch(wanted: int, epochs: float, rows: int | None) -> int:
    """Rows per step: the profile's, less for small data, so that there are enough steps."""
    batch = wanted
    while rows and batch > 2 and math.ceil(rows / batch) * epochs < _FEWEST_STEPS:
        batch //= 2
    return batch


def length_of_training(
    epochs: float,
    rows: int | None,
    batch: int,
    wanted_epochs: float | None,
    wanted_steps: int | None,
    reasons: dict[str, str],
) -> tuple[float, int | None]:
    """(epochs, steps); steps are None when the number of rows is not known."""
    if wanted_steps:
        reasons["epochs"] = reasons["steps"] = _("You asked for it.")
        return (round(wanted_steps * batch / rows, 2) if rows else epochs), wanted_steps
    if not rows:
        reasons["epochs"] = _("You asked for it.") if wanted_epochs else _("The profile's number of passes.")
        return wanted_epochs or epochs, None
    per_epoch = math.ceil(rows / batch)
    if wanted_epochs:
        epochs = wanted_epochs
        reasons["epochs"] = _("You asked for it.")
    elif per_epoch * epochs < _FEWEST_STEPS:
        epochs = min(_MOST_EPOCHS, math.ceil(_FEWEST_STEPS / per_epoch))
        reasons["epochs"] = _("The data is small: {rows} rows need {epochs} passes to be learned.").format(
            rows=rows, epochs=epochs
        )
    elif rows >= _MANY_ROWS:
        epochs = min(epochs, 1 if rows >= _VERY_MANY_ROWS else 2)
        reasons["epochs"] = _("With {rows} rows, {epochs} passes are enough.").format(rows=rows, epochs=epochs)
    else:
        reasons["epochs"] = _("The profile's number of passes.")
    steps = max(1, math.ceil(per_epoch * epochs))
    reasons["steps"] = _("{rows} rows, {batch} at each step, {epochs:g} passes.").format(
        rows=rows, batch=batch, epochs=epochs
    )
    return float(epochs), steps


def disk_gib(shape: Shape, method: str, rank: int, optimizer: str, dtype_bytes: int) -> float:
    """GiB on disk for the result and the checkpoints with the optimizer's state, tokenizer included."""
    trained = shape.parameters if method in WHOLE else shape.lora_parameters(rank)
    made = dtype_bytes if method in WHOLE else 4
    states = 2 if "8bit" in optimizer or method == "galore" else 8
    tokenizer = 0.03 * GIB
    whole = trained * made + tokenizer + _CHECKPOINTS * (trained * (4 + states) + tokenizer)
    return round(whole / GIB, 3)


def seconds(
    shape: Shape,
    card: Accelerator | None,
    cores: int,
    way: Way,
    *,
    steps: int | None,
    batch: int,
    longest: int | None,
) -> float | None:
    """A rough guess; None when the number of steps or the card's speed is not known. `batch`: of all cards."""
    if not steps:
        return None
    if card is None:
        speed = cores * _CPU_GFLOPS_PER_CORE * 1e9
    else:
        tflops = next((value for name, value in _TFLOPS if name in card.name), None)
        if tflops is None:
            return None
        speed = tflops * 1e12 * (_REACHED_4BIT if way.method == "qlora" else _REACHED)
        speed *= way.gpus * _SHARED.get(way.sharding, 1.0)
    # Rows are padded to the longest of their batch only: half of the longest of all is a fair middle.
    tokens = steps * batch * (min(way.length, longest) / 2 if longest else way.length / 2)
    # Operations a parameter and token: 2 forward, 2 for backward's inputs, 2 to compute forward again.
    work = 6 * shape.active_parameters * tokens / speed
    return round(_START_SECONDS + steps * _STEP_SECONDS + work, 1)
