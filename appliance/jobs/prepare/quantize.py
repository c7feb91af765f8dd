"""A smaller model from a model: which scheme, calibrated on which rows, and a person's yes to what is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import files, output, settings
from appliance.engines import installable
from appliance.errors import ApplianceError
from appliance.hub import model as models
from appliance.hub import workspace
from appliance.jobs.control import Draft
from appliance.jobs.folder import Job
from appliance.jobs.prepare.words import command, flags, manifest_of, model_folder
from appliance.locale import _
from appliance.merging.journal import staging_folder

if TYPE_CHECKING:
    from appliance.planning.quantising import Quantising

# Written into the job's folder by a person's yes; the worker looks for it.
ACCEPTED = "accepted.json"
# What a finished quantising has measured, in its staging folder until it stands at its place.
MEASURED = ".quantised.json"
# A perplexity that rose by more than this share is not called good without asking.
MOST_LOST = 0.05
FEWEST_ROWS = 20
_SPARE_GIB = 0.1


def quantize(
    model: str,
    data_file: str | None = None,
    *,
    scheme: str = "auto",
    to: str | None = None,
    samples: int | None = None,
    length: int | None = None,
    mapping: dict[str, str] | None = None,
    sheet: str | None = None,
    hardware: Any = None,
    accept_loss: bool = False,
) -> Draft:
    """A quantised model beside the original. Raises ApplianceError with what stands against it.

    Raises installable.NotInstalled where the tools for it must be installed first (`install`).

    data_file    rows to calibrate and to measure on; None: those that the model was taught with, where they are known
    hardware     of the machine that will serve it, where it is another
    accept_loss  keep the result whatever it has lost
    """
    from appliance import data
    from appliance.hardware import probe
    from appliance.planning.quantising import NAMES, quantising
    from appliance.planning.shape import read_shape

    folder = model_folder(model)
    facts = models.inspect(folder)
    _check_model(facts)
    file = Path(data_file).expanduser().absolute() if data_file else taught_with(folder)
    if file is None:
        raise ApplianceError(
            _("--data is missing."),
            _("A model is quantised with rows of yours, and measured on others of them."),
            _("Name the file of questions and answers that it is for: --data FILE"),
        )
    rows_from: dict[str, Any] = {"file": file, "mapping": mapping, "task": None, "sheet": sheet}
    report = data.check(**rows_from)
    here = probe(settings.home())
    shape = read_shape(folder)
    plan = quantising(
        here, shape, scheme=scheme, samples=samples, length=length, serving=hardware, images=report.images
    )
    if plan.memory_gib > here.cpu.free_gib:
        raise ApplianceError(
            _("The memory is not enough to quantise this model."),
            _("It takes about {needed:.1f} GiB; {free:.1f} are free.").format(
                needed=plan.memory_gib, free=here.cpu.free_gib
            ),
            _("Close other programs, use fewer or shorter rows (--samples, --length), or a machine with more memory."),
        )
    if report.kept < FEWEST_ROWS:
        raise ApplianceError(
            _("{n} usable rows are too few.").format(n=report.kept),
            _("At least {n} are needed, to calibrate on some and to measure on the others.").format(n=FEWEST_ROWS),
            _("Give a file with more rows."),
        )
    tools = installable.quantising(here)
    if not tools.is_installed:
        raise installable.NotInstalled(tools)
    target = _target(to, folder.name, plan.scheme)
    samples_used = min(plan.samples, report.kept)
    named = plan.scheme if scheme != "auto" or hardware else None
    return Draft(
        kind="quantize",
        name=target.name,
        spec={
            "model": str(folder),
            "base": {key: manifest_of(folder).get(key) for key in ("source", "reference", "revision")},
            "to": str(target),
            "name": target.name,
            "sees": facts.vision,
            "most_lost": MOST_LOST,
            "accept_loss": accept_loss,
        },
        environment="quantize",
        accelerators=[plan.card.index] if plan.card else [],
        uuids=[plan.card.uuid] if plan.card else [],
        plan=plan.as_dict(),
        rows_from={**rows_from, "held_out": data_share()},
        facts=[
            (_("What"), _("Quantise {model}: {name}.").format(model=folder.name, name=NAMES[plan.scheme])),
            (_("Why"), plan.reason),
            (_("Served by"), ", ".join(plan.engines)),
            (_("Size"), plan.shrinks),
            *([(_("Instead"), _others(plan))] if plan.others else []),
            *([(_("Pictures"), _("what sees stays as it is, in 16 bits"))] if facts.vision else []),
            (
                _("Rows"),
                _("up to {n} rows of {file} to calibrate, others to measure").format(n=samples_used, file=file.name)
                if plan.samples
                else _("rows of {file} to measure; it needs none to calibrate").format(file=file.name),
            ),
            (_("To"), str(target)),
            (_("Memory"), _("about {n:.1f} GiB").format(n=plan.memory_gib)),
            (_("Disk"), _("{n:.1f} GiB").format(n=plan.after_gib)),
        ],
        warnings=[*plan.warnings, *map(str, report.warnings)],
        command=command(
            "quantize",
            model,
            *flags(
                data=file, scheme=named, to=to, samples=samples, length=length, sheet=sheet,
            ),
            *(word for key, value in (mapping or {}).items() for word in ("--map", f"{key}={value}")),
            *flags(accept_loss=accept_loss),
        ),
        disk_gib=plan.after_gib + _SPARE_GIB,
        disk_at=target.parent,
    )  # fmt: skip


def _others(plan: Quantising) -> str:
    """The other schemes that would do, with their size and how to have them."""
    return " · ".join(f"--scheme {name} {output.size(gib * 2**30)}" for name, gib in plan.others.items())


def data_share() -> float:
    """The share of rows that a fine-tune holds back: of the same file the same rows are measured on here."""
    from appliance.data.held_out import SHARE

    return SHARE


def taught_with(folder: Path) -> Path | None:
    """The rows that a merged model was taught with, where the jobs that made it and the file are still there."""
    written = manifest_of(folder)
    if written.get("source") != "merge":
        return None
    try:
        merge = Job(settings.jobs_folder() / str(written["reference"])).spec["spec"]
        tuned = Job(Path(merge["adapters"][0]["folder"]).parent).spec["spec"]
        file = Path(tuned["data"]["file"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    return file if file.is_file() else None


def lost_too_much(job: Job) -> bool:
    """Whether the job has quantised, found too much lost, and waits for a person's yes."""
    if job.kind != "quantize" or job.state().state != "failed":
        return False
    return (staging_folder(Path(job.spec["spec"]["to"]), job.id) / MEASURED).is_file()


def accept(job: Job) -> None:
    """A person says that what was lost is all right; resumed, the job then only finishes."""
    if job.kind != "quantize":
        raise ApplianceError(
            _("{id} has lost nothing that could be accepted.").format(id=job.id),
            _("Only quantising loses something."),
            _("Leave --accept-loss out."),
        )
    files.write_json(job.folder / ACCEPTED, {"accepted": True})


def _check_model(facts: models.Model) -> None:
    if facts.quantised:
        raise ApplianceError(
            _("{name} is quantised already ({method}).").format(name=facts.name, method=facts.quantised),
            _("Quantising it once more would lose more and gain nothing."),
            _("Take the original 16-bit model."),
        )
    from appliance.merging import weights

    for name in facts.weight_files:
        for tensor in weights.read(facts.folder / name).tensors:
            if ".experts." in tensor.name and len(tensor.shape) > 2:
                raise ApplianceError(
                    _("The experts of this model can't be quantised."),
                    _("Its files hold all experts of a layer in one: {name}.").format(name=tensor.name),
                    _("Download a quantised version of it from a hub, such as one with FP8 in its name."),
                )


def _target(to: str | None, model: str, scheme: str) -> Path:
    """Where the quantised model goes: a path, a name in the workspace, or the model's name and the scheme's."""
    if to:
        path = Path(to).expanduser()
        target = path.absolute() if "/" in to else settings.models_folder() / workspace.folder_name(to)
        if os.path.lexists(target):  # a link to a disk that is away, too
            raise ApplianceError(
                _("{folder} is there already.").format(folder=target),
                _("Quantising never writes over anything."),
                _("Choose another name with --to, or remove that folder first."),
            )
        return target
    number = 1
    while os.path.lexists(
        target := settings.models_folder() / (f"{model}-{scheme}" if number == 1 else f"{model}-{scheme}-{number}")
    ):
        number += 1
    return target
