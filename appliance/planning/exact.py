"""`appliance estimate --exact`: the truth without a GPU, counted by a process in the training environment.

There a real step runs under fake tensors (`appliance.work.exact`, started by name: no torch here). What a count of one
step can't know is added by the formula's own rule, so that both predict the same reading: cuBLAS's workspace, the gaps
that rows of many lengths leave between blocks, and the CUDA context.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance import files, settings
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _
from appliance.planning.estimate import Estimate, readings
from appliance.planning.estimate_words import module_names, read_settings
from appliance.planning.shape import read_shape
from appliance.planning.training import Training
from appliance.planning.weights import packed_kind

_MODULE = "appliance.work.exact"
_SECONDS = 600
_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_32bit", "sgd")
# The context is 0.3 to 0.6 by card and driver; gaps between none and twice as many.
_CONTEXT_LESS_GIB = 0.3


class NotCounted(ApplianceError):
    """This model, or these settings of it, can't be counted by the libraries that are installed."""


@dataclass(frozen=True)
class Exact(Estimate):
    """An estimate that was counted; `versions` are the libraries that ran."""

    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**super().as_dict(), "exact": True, "versions": self.versions}


def estimate_exactly(folder: Path, words: Mapping[str, Any]) -> Exact:
    """Count the step that these words mean (as read_settings reads them) for the model in a folder.

    Takes some ten seconds. Raises UsageError for what can't be counted (every problem at once), ApplianceError for a
    folder without a model, a model class that transformers does not have, or a training environment that is missing.
    """
    run = _countable(folder, words)
    answer = count([settings_of(folder, run)])[0]
    return reading(answer, run.figure, plain=run.loss == "plain")


def count(wanted: Sequence[dict[str, Any]], seconds: int = _SECONDS) -> list[dict[str, Any]]:
    """The worker's answers (bytes), one after the other in one process, `seconds` for each at most.

    Raises NotCounted with the first of the worker's own errors, ApplianceError where it did not come to an answer.
    """
    made = answers(wanted, seconds)
    for answer in made:
        if "error" in answer:
            raise NotCounted.from_dict(answer["error"])
    return made


def answers(wanted: Sequence[dict[str, Any]], seconds: int = _SECONDS) -> list[dict[str, Any]]:
    """The same with {"error": …} for what can't be counted. Raises ApplianceError where nothing can."""
    python = settings.python_of("train")
    if not python.exists():
        raise ApplianceError(
            _("The exact estimate needs the training environment, which is not installed."),
            _("{path} is not there.").format(path=python),
            _("Run `make setup`, or leave --exact out for the formula."),
        )
    # The card is not looked at, so that it need not be free; hubs neither.
    variables = {
        **settings.child_environment(),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    with TemporaryDirectory(prefix="appliance-") as place:
        file = Path(place) / "settings.json"
        files.write_json(file, list(wanted))
        try:
            done = subprocess.run(
                [python, "-P", "-m", _MODULE, file],
                env=variables,
                capture_output=True,
                text=True,
                timeout=seconds * len(wanted),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failed(_("It took longer than {n} s.").format(n=seconds)) from None
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(found) != len(wanted):
        raise _failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return found


def settings_of(folder: Path, run: Training) -> dict[str, Any]:
    """What the worker's module reads."""
    quant = run.quant or ("nf4-dq" if run.method == "qlora" else None)
    return {
        "folder": str(folder.absolute()),
        "method": "qlora" if quant else run.method,
        "rank": run.rank,
        "targets": None if run.targets is None else module_names(run.targets),
        "batch": run.batch,
        "length": run.length,
        "optimizer": run.optimizer,
        "checkpointing": run.checkpointing,
        "attention": "eager" if run.attention == "eager" else None,
        "loss": run.loss,
        "double": quant == "nf4-dq",
        "ours": run.ours,
    }


def reading(answer: dict[str, Any], figure: str, *, plain: bool = False) -> Exact:
    """An answer's bytes as the reading that is asked for: what torch allocated, what it reserved, or the device's.

    plain  all logits at once, which leave larger gaps
    """
    counted = max(answer["moments"].values(), key=lambda parts: sum(parts.values()))
    names = ("weights", "adapter", "gradients", "optimizer", "activations", "logits")
    parts = {name: float(counted.get(name, 0)) for name in names}
    large = max(moment.get("logits", 0) for moment in answer["moments"].values()) if plain else 0
    made = readings(parts, figure, "cuda", moving=parts["activations"] + parts["logits"], large=large)
    gaps = made.parts.get("fragmentation", 0.0)
    less = _CONTEXT_LESS_GIB if figure == "device" else 0.0
    return Exact(made.total_gib, made.total_gib - less - gaps, made.total_gib + gaps, made.parts, answer["versions"])


def _countable(folder: Path, words: Mapping[str, Any]) -> Training:
    """The settings, or UsageError with everything that only the formula knows."""
    run = read_settings(words)
    shape = read_shape(folder)
    problems = []

    def only(name: str, given: Any, allowed: Sequence[Any]) -> None:
        if given not in allowed:
            names = ", ".join(str(one) for one in allowed if one is not None)
            problems.append(
                _("{name}: must be one of {names}, not {given}").format(name=name, names=names, given=given)
            )

    if not isinstance(run, Training):
        only("task", "serve", ("sft", "pretrain"))
    else:
        only("task", run.task, ("sft", "pretrain"))
        only("loss", run.loss, ("fused", "plain"))
        only("quant", run.quant or packed_kind(shape), (None, "nf4", "nf4-dq"))
        only("optimizer", run.optimizer, _OPTIMIZERS)
        only("gpus", run.gpus, (1,))
        only("sharding", run.sharding, ("none", "ddp"))
        only("device", run.device, ("cuda",))
        only("dtype_bytes", run.dtype_bytes, (2,))
        if run.whole:
            problems.append(_("targets: embeddings or head trained whole can't be counted"))
    if problems:
        raise UsageError(
            _("This can't be counted exactly."),
            "; ".join(problems),
            _("Leave --exact out for the formula, which knows it."),
            problems,
        )
    assert isinstance(run, Training)
    return run


def _failed(why: str) -> ApplianceError:
    return ApplianceError(
        _("The step could not be counted."), why, _("Leave --exact out for the formula, or see `appliance doctor`.")
    )
