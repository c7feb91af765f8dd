"""A person's words for a model, and the command line that does the same as a draft."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.hub import workspace
from appliance.locale import _

_NAMED = 12  # models of the workspace that an error lists


class NotHere(ApplianceError):
    """The model is not on this machine, but a hub may have it: `reference` can be downloaded."""

    def __init__(self, reference: str):
        super().__init__(
            _("The model {name} is not on this machine yet.").format(name=reference),
            "",
            _("Download it: appliance download {name}").format(name=reference),
        )
        self.reference = reference


def command(*words: object) -> str:
    """The command line that does the same, ready to paste."""
    return shlex.join(["appliance", *(str(word) for word in words)])


def flags(**values: object) -> list[str]:
    """`--name value` for every value that is set; underscores become dashes, True is a bare flag, False is left out."""
    words: list[str] = []
    for name, value in values.items():
        if value is None or value is False or value == "":
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return words


def model_folder(reference: str) -> Path:
    """The folder of M. Raises NotHere when only a hub can have it, ApplianceError when nobody can."""
    found = workspace.resolve(reference)
    if found is not None:
        return found
    name = at_a_hub(reference)
    found = workspace.resolve(name)
    if found is not None:
        return found
    if workspace.is_hub_name(name):
        raise NotHere(name)
    if Path(reference).expanduser().is_file() and reference.lower().endswith(workspace.ARCHIVES):
        raise ApplianceError(
            _("{name} is an archive.").format(name=reference),
            _("A model is used from its folder in the workspace."),
            _("Bring it here first: {command}").format(command=command("models", "import", reference)),
        )
    names = [model.name for model in workspace.list_models()]
    here = ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
    raise ApplianceError(
        _("There is no model {name}.").format(name=reference),
        _("It is neither a folder nor a model in the workspace ({models}).").format(models=here or _("none yet")),
        _("Give a folder, one of those names, or owner/name to download it from a hub."),
    )


def at_a_hub(reference: str) -> str:
    """owner/name for a name of the catalogue; other references as they are."""
    from appliance.planning.catalogue import hub_name

    return hub_name(reference)


def manifest_of(folder: Path) -> dict[str, Any]:
    """What is known of a model's origin and files; empty where nothing is."""
    from appliance.hub import manifest

    return manifest.read(folder) or {}
