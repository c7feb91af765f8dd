"""What real runs on this machine have taken, against the formula; it corrects the plans that come after them.

Only what comes and goes is corrected (activations, gradients, gaps between blocks): weights are known to the byte, so
that a run of a small model says something about a large one too. The file is the workspace's calibration.json:

    {"ratios": {"NVIDIA A10 | lora | checkpointing | fused | torch 2.13.0 …": [0.93, 0.91]}}
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from appliance import files, settings
from appliance.planning.estimate import Estimate

FILE = "calibration.json"
# The last runs count, so that a changed machine or driver shows soon; the median, so that no single one decides.
_KEPT = 5
# What is farther off was measured wrongly, or something else was running.
LEAST, MOST = 0.7, 1.5
# Of a run that small most is Python's or CUDA's own, which does not grow with the model: it says nothing about others.
_LEAST_GIB = 1.5
# The parts that are known to the byte.
_EXACT = ("weights", "reference")
_LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes")


def key(device: str, method: str, checkpointing: bool, *, loss: str = "fused", versions: str | None = None) -> str:
    """Runs that can be compared: the same card, the same way and the same libraries. `device` is its name, or "cpu"."""
    way = "checkpointing" if checkpointing else "no checkpointing"
    return " | ".join((device, method, way, loss, trainer_versions() if versions is None else versions))


def trainer_versions() -> str:
    """The training environment's libraries by their installed folders' names; its Python is not started for it."""
    found = {}
    for place in (settings.environments_folder() / "train" / "lib").glob("python3*/site-packages"):
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            match = re.fullmatch(r"(\w+)-([^-]+)\.dist-info", name)
            if match and match.group(1) in _LIBRARIES:
                found[match.group(1)] = match.group(2)
    return " ".join(f"{name} {found[name]}" for name in _LIBRARIES if name in found)


def remember(home: Path, key: str, predicted: float, measured: float) -> None:
    """Keep a run's measured memory against the formula's own (not a corrected one's): GiB without the weights.

    Runs too small to say anything are left out, nonsense too. Never raises for a disk.
    """
    if not (predicted >= _LEAST_GIB and 0 < measured < float("inf")):
        return
    ratios = _read(home)
    ratios[key] = [*ratios.get(key, []), round(measured / predicted, 4)][-_KEPT:]
    try:
        files.write_json(home / FILE, {"ratios": ratios})
    except OSError:  # a correction less; the run itself has gone well
        pass


def factor(home: Path, key: str) -> float:
    """What to multiply the formula's figure with; 1.0 where no run is known."""
    return _factor(_read(home), key)


@dataclass(frozen=True)
class Calibration:
    """The file, read once for a plan's many estimates, and the card whose runs count."""

    device: str = ""
    versions: str = ""
    ratios: dict[str, list[float]] = field(default_factory=dict)

    def factor(self, method: str, checkpointing: bool) -> float:
        """The correction for one way of training on this card."""
        if not self.ratios:
            return 1.0
        return _factor(self.ratios, key(self.device, method, checkpointing, versions=self.versions))


def load(home: Path) -> Calibration:
    """All that is known in this workspace; the plan adds its card by `replace(calibration, device=…)`."""
    ratios = _read(home)
    return Calibration(versions=trainer_versions() if ratios else "", ratios=ratios)


def corrected(memory: Estimate, factor: float) -> Estimate:
    """The estimate with all but its weights multiplied."""
    if factor == 1.0:
        return memory
    parts = {name: size if name in _EXACT else factor * size for name, size in memory.parts.items()}
    exact = exact_gib(memory)

    def move(total: float) -> float:
        return exact + factor * (total - exact)

    return replace(
        memory,
        total_gib=sum(parts.values()),
        low_gib=move(memory.low_gib),
        high_gib=move(memory.high_gib),
        parts=parts,
    )


def exact_gib(memory: Estimate) -> float:
    """The weights of an estimate: what is neither corrected nor compared."""
    return sum(memory.parts.get(name, 0.0) for name in _EXACT)


def _factor(ratios: Mapping[str, list[float]], key: str) -> float:
    known = ratios.get(key)
    return min(MOST, max(LEAST, statistics.median(known[-_KEPT:]))) if known else 1.0


def _read(home: Path) -> dict[str, list[float]]:
    """What can be read of the file; the rest is left out."""
    try:
        value: Any = files.read_json(home / FILE)
    except (OSError, ValueError, RecursionError):
        return {}
    ratios = value.get("ratios") if isinstance(value, dict) else None
    found = {}
    for name, runs in (ratios if isinstance(ratios, dict) else {}).items():
        good = [float(run) for run in runs if _is_ratio(run)] if isinstance(runs, list) else []
        if good:
            found[name] = good
    return found


def _is_ratio(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1000
