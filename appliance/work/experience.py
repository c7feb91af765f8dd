"""What a fine-tune has really taken, kept for the plans that come after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import settings
from appliance.errors import ApplianceError
from appliance.planning import calibration
from appliance.planning.shape import read_shape
from appliance.planning.way import Way


def remember(base: Path, plan: dict[str, Any], task: str, largest: tuple[int, ...], measured_gib: float | None) -> None:
    """Compare with what the formula says of the largest batch there was: rows are often shorter than planned for.

    largest       its rows and tokens a row; (0, 0) when this attempt made no step
    measured_gib  peak: reserved by PyTorch on a card; the resident memory on a processor, under a key of its own
    """
    device = plan.get("device", "cpu")
    # What Metal's driver holds can only be read at the end, which is no peak.
    if device not in ("cuda", "cpu") or measured_gib is None or not all(largest) or "device_name" not in plan:
        return
    way = Way(
        method=plan["method"],
        dtype=plan["dtype"],
        # A pair is one row to the plan and two to the model.
        micro_batch=largest[0] // 2 if task in ("dpo", "reward") else largest[0],
        length=largest[1],
        rank=plan["rank"],
        optimizer=plan.get("optimizer") or "adamw_torch",
        checkpointing=bool(plan.get("checkpointing")),
        device=device,
        task=task,
        gpus=plan.get("gpus", 1),
        sharding=plan.get("sharding", "none"),
    )
    try:
        formula = way.formula(read_shape(base))
    except ApplianceError:  # no reason to lose a finished adapter
        return
    if device == "cuda":  # PyTorch does not count what CUDA itself takes; the formula does
        measured_gib += formula.parts["context"]
    weights = calibration.exact_gib(formula)
    calibration.remember(
        settings.home(),
        calibration.key(plan["device_name"], way.method, way.checkpointing),
        formula.total_gib - weights,
        measured_gib - weights,
    )
