"""The plan for a model, a data file and this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.jobs.prepare.words import NotHere, model_folder
from appliance.locale import _

if TYPE_CHECKING:
    from appliance.planning.lengths import Lengths

# The rows that a task needs, where they are not called as the task is.
_ROWS_OF = {"orpo": "dpo", "simpo": "dpo", "reward": "dpo", "grpo": "sft", "rloo": "sft"}
TASKS = ("sft", "pretrain", "dpo", "kto", "orpo", "simpo", "reward", "grpo", "rloo")
TASK_CHOICES = " | ".join(("auto", *TASKS))
# A tokenizer and its template take a quarter of a millisecond a row: the lengths of more rows are only guessed.
_COUNTED_ROWS = 20_000


def rows_from(
    file: Path | None, *, task: str = "auto", mapping: dict[str, str] | None = None, sheet: str | None = None
) -> dict[str, Any]:
    """How a data file is read for a task. Raises UsageError for one that does not exist."""
    if task not in ("auto", *TASKS):
        why = _("TRL has given PPO up; rloo and grpo learn from the same rewards.") if task == "ppo" else ""
        raise UsageError(_("There is no task {task}.").format(task=task), why, TASK_CHOICES)
    return {
        "file": file,
        "mapping": mapping,
        "task": _ROWS_OF.get(task, None if task == "auto" else task),
        "sheet": sheet,
    }


def make_plan(
    model: str,
    *,
    rows_from: dict[str, Any],
    report: Any = None,
    task: str | None = None,
    wish: dict[str, Any] | None = None,
    hardware: Any = None,
) -> Any:
    """The plan for this model (a config.json is enough), this data and this machine.

    rows_from  the data file and how it is read, from `rows_from`; `report` is of it
    task       None: what its rows are for
    """
    from appliance import data
    from appliance.hardware import probe
    from appliance.planning import calibration
    from appliance.planning.counting import Counter
    from appliance.planning.lengths import Lengths, matters
    from appliance.planning.plan import plan

    if rows_from["file"] is not None and report is None:
        report = data.check(**rows_from)
    lengths = Lengths.of(report.lengths, report.rough) if report else None
    images = report.images if report else 0
    machine = hardware or probe(settings.home())
    # What was measured here says nothing about another machine.
    known = None if hardware else calibration.load(settings.home())
    with looked_up(model) as found:

        def decide(lengths: Lengths | None, counter: Counter | None = None) -> Any:
            return plan(
                machine,
                found.shape,
                task=task or (report.task if report else "sft"),
                rows=report.kept if report else None,
                lengths=lengths,
                images=images,
                wish=wish or {},
                calibration=known,
                counter=counter,
            )

        countable = lengths and not found.sentence and len(lengths.tokens) <= _COUNTED_ROWS
        # How many tokens a picture becomes, only the model's own processor can tell. What can't be had is said first.
        if lengths and countable and (matters(lengths, decide) or images):
            lengths = _counted(rows_from, found.folder) or lengths
        made = decide(lengths, Counter(found.folder, settings.home()))
    if found.sentence:
        made.reasons = {"model": found.sentence, **made.reasons}
    return made


def _counted(rows_from: dict[str, Any], model: Path) -> Lengths | None:
    """The rows' lengths by the model's own tokenizer and template; None where that can't be had."""
    from appliance import data, output
    from appliance.planning.lengths import Lengths

    if not settings.python_of("train").exists():
        return None
    try:
        with output.waiting(_("counting the rows with the model's own tokenizer")):
            found = data.check(**rows_from, model=model).lengths
    except ApplianceError:  # a fine-tune looks at the tokenizer itself and says what is wrong
        return None
    # A folder with a config.json alone can't write a single row.
    return Lengths.of(found, rough=False) if any(found) else None


@dataclass(frozen=True)
class Looked:
    """What is known of a model before any of its weights are needed: a folder with its config.json, and its shape.

    sentence  said where it is not on this machine and the catalogue knows it; empty otherwise
    """

    folder: Path
    shape: Any
    sentence: str = ""


@contextmanager
def looked_up(reference: str) -> Iterator[Looked]:
    """M's configuration: its folder's, or the catalogue's where it is not here. Raises as `model_folder` does."""
    from appliance.planning import catalogue
    from appliance.planning.shape import read_shape

    try:
        here = model_folder(reference)
    except NotHere:
        known = catalogue.find(reference)
        if known is None:
            raise
        with known.folder() as folder:
            text = _("{name} is not here yet: its shape is the catalogue's. To get it: appliance download {name}")
            yield Looked(folder, known.shape(), text.format(name=known.name))
        return
    yield Looked(here, read_shape(here))
