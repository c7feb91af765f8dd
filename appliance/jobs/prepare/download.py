"""A model from a hub, a folder or an archive; a data set from a hub."""

from __future__ import annotations

from pathlib import Path

from appliance import settings
from appliance.errors import ApplianceError
from appliance.hub import workspace
from appliance.jobs.control import Draft
from appliance.jobs.prepare.words import at_a_hub, command, flags, manifest_of
from appliance.locale import _


def download(reference: str, *, source: str = "auto", revision: str | None = None, to: str | None = None) -> Draft:
    """A model from a hub, a folder or an archive into the workspace."""
    reference = reference if Path(reference).expanduser().exists() else at_a_hub(reference)
    target = Path(to).expanduser().absolute() if to else settings.models_folder() / workspace.folder_name(reference)
    damaged = manifest_of(target)
    if damaged.get("damaged"):
        from appliance.jobs.models import refuse_in_use

        refuse_in_use(target.name, target)
        hub = damaged.get("source")
        if hub in ("huggingface", "modelscope") and damaged.get("reference") == reference and source in ("auto", hub):
            # Mended, not replaced by what is newest, nor by another hub's.
            source = str(hub)
            if hub == "huggingface":  # ModelScope is asked by branch
                revision = revision or damaged.get("revision")
    local = Path(reference).expanduser()
    if not local.exists() and not workspace.is_hub_name(reference):
        raise ApplianceError(
            _("{name} is neither a file or folder here nor a model's name at a hub.").format(name=reference),
            "",
            _("Write owner/name (such as Qwen/Qwen3-0.6B), or the path of a folder or archive."),
        )
    shown = str(local.absolute()) if local.exists() else reference
    where = {
        "modelscope": "ModelScope",
        "huggingface": "Hugging Face",
        "auto": _("ModelScope or Hugging Face, whichever answers"),
    }[source]
    return Draft(
        kind="download",
        name=workspace.folder_name(reference),
        spec={"reference": shown, "source": source, "revision": revision, "to": str(target)},
        facts=[
            (_("What"), _("Bring {name} here and check every file.").format(name=shown)),
            (_("From"), _("this machine") if local.exists() else where),
            (_("To"), str(target)),
            (_("Memory"), _("little; no GPU")),
            (_("Disk"), _("the size of the model; checked before the first byte")),
        ],
        command=command(
            "download", shown, *flags(source=None if source == "auto" else source, revision=revision, to=to)
        ),
    )


def download_data(reference: str, *, source: str = "auto", revision: str | None = None) -> Draft:
    """A data set of the catalogue, or any of a hub's, into the workspace. Raises ApplianceError for no such name."""
    from appliance.data import catalogue

    known = catalogue.find(reference)
    if known is None and not workspace.is_hub_name(reference):
        raise ApplianceError(
            _("There is no data set {name}.").format(name=reference),
            _("It is not in the catalogue, and it is not the name of one at a hub (owner/name)."),
            _("Search by subject: appliance datasets WORDS"),
        )
    name = known.name if known else reference
    asked = next(iter(catalogue.references(reference).values()))
    target = settings.datasets_folder() / workspace.folder_name(name)
    return Draft(
        kind="download",
        name=workspace.folder_name(name),
        spec={"reference": asked, "source": source, "revision": revision, "to": str(target), "of": "dataset"},
        facts=[
            (_("What"), _("Bring {name} here and check every file.").format(name=name)),
            (_("Licence"), (known.licence if known else "") or _("unknown: look at its page")),
            (_("To"), str(target)),
            (_("Disk"), _("the size of the data set; checked before the first byte")),
        ],
        command=command(
            "data", "download", name, *flags(source=None if source == "auto" else source, revision=revision)
        ),
    )
