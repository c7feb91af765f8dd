"""Where the formula is too near to the limit to be trusted, the plan has the step counted (`exact.py`), by itself.

An answer is kept in the workspace, `cache/exact/`, by what it depends on: config.json, settings, the training
environment's libraries and the counting code itself. So the second plan asks nobody.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from appliance import files, output, settings
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.planning import exact
from appliance.planning.calibration import trainer_versions
from appliance.planning.estimate import Estimate
from appliance.planning.shape import Shape
from appliance.planning.training import Training
from appliance.planning.way import BYTES, WHOLE, Way, method_name, verdict_of
from appliance.planning.weights import packed_kind

# So near to the limit the formula's verdict is not certain: it is off by a few per cent, by twelve at the worst.
NEAR = 0.15
# A count takes some ten seconds; a plan that needs more of them than that is left to the formula.
_MOST_COUNTS, _SECONDS = 4, 180
# What is counted by: a changed line there makes other answers.
_CODE = ("exact.py", "stand_ins.py", "storages.py")


class Counter:
    """Counts ways of training one model. `folder` holds its config.json; `home` is the workspace of the cache.

    problem  why nothing could be counted, a sentence; None while all is well
    counted  the ways that were: GiB by the formula, and as counted
    """

    def __init__(self, folder: Path, home: Path):
        self._folder = folder
        self._cache = home / "cache" / "exact"
        self._asked = 0
        self.problem: str | None = None
        self.counted: dict[Way, tuple[float, float]] = {}

    def better(self, way: Way, shape: Shape, formula: Estimate, free_gib: float) -> Estimate:
        """The formula's estimate, or the counted one where that is needed and can be had."""
        if not (is_near(formula, free_gib) and _countable(way, shape)) or self.problem:
            return formula
        wanted = exact.settings_of(self._folder, _training(way))
        # TRL's 16-bit adapters become float32 again for float16's gradient scaler (see work/finetune.py).
        wanted["ours"] = wanted["ours"] and way.dtype == "bfloat16"
        try:
            answer = self._known(wanted)
            if answer is None:
                if self._asked >= _MOST_COUNTS:
                    return formula
                self._asked += 1
                answer = self._ask(wanted)
        except ApplianceError as error:
            self.problem = " ".join(filter(None, (error.what, error.why)))
            return formula
        made = exact.reading(answer, "device")
        exchanged = formula.parts.get("communication", 0.0)
        if exchanged:
            made = replace(
                made,
                total_gib=made.total_gib + exchanged,
                low_gib=made.low_gib + exchanged,
                high_gib=made.high_gib + exchanged,
                parts={**made.parts, "communication": exchanged},
            )
        self.counted[way] = formula.total_gib, made.total_gib
        return made

    def reason(self, way: Way, free_gib: float) -> str | None:
        """What was counted for the plan that chose this way, or why it could not be; None where nothing had to be."""
        if way in self.counted:
            formula, need = self.counted[way]
            return _(
                "{need:.1f} GiB: a training step of this very model was run without weights, and its memory counted. "
                "The formula said {formula:.1f}, too near to the {free:.1f} GiB that are free to be sure."
            ).format(need=need, formula=formula, free=free_gib)
        if self.counted:
            other = min(self.counted, key=lambda one: self.counted[one][1])
            return _(
                "{method} with {batch} × {length} tokens at a time was near the limit, so a training step was run "
                "without weights and counted: {need:.1f} GiB, which is not sure to fit into {free:.1f}."
            ).format(
                method=method_name(other.method),
                batch=other.micro_batch,
                length=other.length,
                need=self.counted[other][1],
                free=free_gib,
            )
        if self.problem:
            return _("The formula is too near to the limit to be sure, and counting failed: {why}").format(
                why=self.problem
            )
        return None

    def _ask(self, wanted: dict[str, Any]) -> dict[str, Any]:
        with output.waiting(_("near the limit: counting a training step, for a quarter of a minute")):
            try:
                answer = exact.count([wanted], _SECONDS)[0]
            except exact.NotCounted as error:  # the model's fault: it fails the next time as well
                self._keep(wanted, {"error": error.as_dict()})
                raise
        self._keep(wanted, answer)
        return answer

    def _known(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """An earlier answer. Raises ApplianceError where that was a failure."""
        try:
            answer = files.read_json(self._file(wanted))
            if "error" in answer:
                raise ApplianceError.from_dict(answer["error"])
            exact.reading(answer, "device")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # not there, or damaged: counted anew
        return dict(answer)

    def _keep(self, wanted: dict[str, Any], answer: dict[str, Any]) -> None:
        try:
            files.write_json(self._file(wanted), answer)
        except OSError:  # it is counted again next time
            pass

    def _file(self, wanted: dict[str, Any]) -> Path:
        config = files.sha256(self._folder / "config.json")
        described = {**wanted, "folder": config, "versions": trainer_versions(), "code": _code()}
        return self._cache / f"{hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]}.json"


def is_near(memory: Estimate, free_gib: float) -> bool:
    """Whether the formula is not sure: within 15 % of the limit, or with the limit inside its own range."""
    return abs(memory.total_gib - free_gib) <= NEAR * free_gib or verdict_of(memory, free_gib) == "tight"


def _countable(way: Way, shape: Shape) -> bool:
    """Only what CUDA does with 16-bit arithmetic is counted, on one card or the same on each."""
    return (
        way.device == "cuda"
        and BYTES[way.dtype] == 2
        and way.sharding != "fsdp"
        and way.method not in WHOLE
        and way.task in ("sft", "pretrain")
        and not shape.vision
        and packed_kind(shape) is None
    )


def _training(way: Way) -> Training:
    return Training(
        method=way.costs_as,
        rank=way.rank,
        batch=way.micro_batch,
        length=way.length,
        optimizer=way.optimizer,
        checkpointing=way.checkpointing,
    )


@cache
def _code() -> str:
    text = b"".join((settings.CODE_ROOT / "appliance" / "work" / name).read_bytes() for name in _CODE)
    return hashlib.sha256(text).hexdigest()
