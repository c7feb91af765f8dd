"""A model of its own from adapters and their base."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from appliance import files, output, settings
from appliance.errors import ApplianceError, UsageError
from appliance.hub import model as models
from appliance.hub import workspace
from appliance.jobs.control import Draft
from appliance.jobs.prepare.adapters import adapter_folder, base_of, refuse_judge
from appliance.jobs.prepare.words import command, flags, model_folder
from appliance.locale import _
from appliance.merging import base as bases
from appliance.merging import whole_model

_MERGED_SUFFIX = "-tuned"
# peft's kinds that put something before the words instead of changing weights.
_NOT_WEIGHTS = {
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT", "CARTRIDGE",
}  # fmt: skip


def merge(
    adapter: str,
    *,
    more: Sequence[str] = (),
    weights: Sequence[float] = (),
    base: str | None = None,
    to: str | None = None,
) -> Draft:
    """A model of its own from an adapter and its base; `more` adapters are added, each with its weight (1)."""
    names = [adapter, *more]
    if weights and len(weights) != len(names):
        raise UsageError(
            _("There are {adapters} adapters and {weights} weights.").format(adapters=len(names), weights=len(weights)),
            "",
            "--weights 0.7,0.3",
        )
    if not all(map(math.isfinite, weights)):
        told = ",".join(map(str, weights))
        raise UsageError(_("--weights wants numbers."), told, "--weights 0.7,0.3")
    folders = [adapter_folder(name) for name in names]
    facts = models.inspect_adapter(folders[0])
    for folder in folders:
        _check_kind(models.inspect_adapter(folder))
        refuse_judge(folder)
    base_folder = model_folder(base) if base else base_of(folders[0], facts.base)
    model = models.inspect(base_folder)
    for folder in folders:
        bases.check(base_folder, folder)
    goes_to = target(to, base_folder.name)
    size = model.size_bytes / 2**30
    numbers = list(weights) or [1.0] * len(folders)
    by_peft, shared = _planned(base_folder, list(model.weight_files), list(zip(folders, numbers, strict=True)))
    memory = _("under 0.2 GiB, no GPU; comparing answers afterwards takes more where it is free")
    if by_peft:
        whole_model.check_memory(base_folder)
        memory = _("about {size}: peft merges it, with the whole model in memory ({reason})").format(
            size=output.gib(whole_model.needed_bytes(base_folder) / 2**30), reason=by_peft
        )
    return Draft(
        kind="merge",
        name=goes_to.name,
        spec={
            "adapters": [{"folder": str(f), "weight": w} for f, w in zip(folders, numbers, strict=True)],
            "base": str(base_folder),
            "to": str(goes_to),
            "name": goes_to.name,
        },
        facts=[
            (
                _("What"),
                _("Make one model of {base} and the adapter {adapter}.").format(
                    base=base_folder.name, adapter=" + ".join(_adapter_name(folder) for folder in folders)
                ),
            ),
            (_("To"), str(goes_to)),
            (_("Memory"), memory),
            (_("Disk"), _("{n:.1f} GiB").format(n=size)),
        ],
        warnings=[
            _(
                "The adapter changes {name}, but in this model embedding and head are one matrix: merged, both change "
                "alike, and answers can be others than base + adapter gives. The comparison afterwards says how many."
            ).format(name=shared)
        ]
        if shared
        else [],
        command=command("merge", *folders, *flags(weights=",".join(f"{w:g}" for w in weights), base=base, to=to)),
        disk_gib=size,
        disk_at=goes_to.parent,
    )


def _planned(base: Path, weight_files: list[str], adapters: list[tuple[Path, float]]) -> tuple[str, str]:
    """(what in the adapters is not streamed, an embedding or head that changes with its twin); "" for nothing.

    Raises ApplianceError for what does not fit the base.
    """
    from appliance.merging import plan
    from appliance.merging.adapter import NotStreamed

    try:
        return "", plan.make(base, weight_files, adapters, files.read_json(base / "config.json")).shared
    except NotStreamed as reason:
        return str(reason), ""


def _check_kind(adapter: models.Adapter) -> None:
    if adapter.peft_type in _NOT_WEIGHTS:
        raise ApplianceError(
            _("{name} can't be merged.").format(name=_adapter_name(adapter.folder)),
            _("It is of the kind {kind}, which changes no weights of its base.").format(kind=adapter.peft_type),
            _("Use it with peft beside its base, or train a LoRA on the same rows: appliance finetune"),
        )


def _adapter_name(folder: Path) -> str:
    return folder.parent.name if folder.name == "adapter" else folder.name


def target(to: str | None, base_name: str) -> Path:
    """Where the merged model goes: a path, a name in the workspace, or the base's name with a suffix that is free."""
    if to:
        path = Path(to).expanduser()
        named = path.absolute() if "/" in to else settings.models_folder() / workspace.folder_name(to)
        if os.path.lexists(named):  # a link to a disk that is away, too
            raise ApplianceError(
                _("{folder} is there already.").format(folder=named),
                _("A merge never writes over anything."),
                _("Choose another name with --to, or remove that folder first."),
            )
        return named
    stem = base_name if base_name.endswith(_MERGED_SUFFIX) else base_name + _MERGED_SUFFIX
    number = 1
    while os.path.lexists(free := settings.models_folder() / (stem if number == 1 else f"{stem}-{number}")):
        number += 1
    return free
