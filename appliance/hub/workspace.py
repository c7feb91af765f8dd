"""The models and adapters that stand in the workspace, and what a person's words for one mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from appliance import settings
from appliance.errors import ApplianceError
from appliance.files import folder_size
from appliance.hub import manifest
from appliance.hub.model import Adapter, Model, inspect_adapter, look

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Unfinished:
    """A folder that never became whole: a download that was cut, or something put there by hand."""

    folder: Path
    name: str
    size_bytes: int


def list_models() -> list[Model]:
    """Every whole model in the workspace, by name. One that was damaged since has `complete` False."""
    return [look(folder)[0] for folder in whole_folders() if (folder / "config.json").is_file()]


def list_adapters() -> list[Adapter]:
    """Every adapter that was downloaded or imported, by name. Those of fine-tunes stand in their jobs' folders."""
    found = []
    for folder in whole_folders():
        if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
            try:
                found.append(inspect_adapter(folder))
            except ApplianceError:
                continue
    return found


def unfinished() -> list[Unfinished]:
    """Folders without a manifest: not models. A download that goes on uses what is there."""
    return [
        Unfinished(folder, re.sub(r"^\.(.*)\.partial$", r"\1", folder.name), folder_size(folder))
        for folder in _folders()
        if folder.name.endswith(".partial") or (not folder.name.startswith(".") and manifest.read(folder) is None)
    ]


def resolve(reference: str) -> Path | None:
    """The folder of M: a folder's path, a model's name in the workspace, or owner/name that was downloaded already."""
    if not reference.strip() or "\0" in reference:
        return None
    path = Path(reference).expanduser()
    if path.is_dir():
        return path.absolute()
    if is_hub_name(reference):
        place = settings.models_folder() / folder_name(reference)
        if manifest.read(place) is None:
            return _brought_from(reference)
    elif "/" not in reference and reference not in (".", ".."):
        place = settings.models_folder() / reference
    else:
        return None
    return place if not place.name.startswith(".") and manifest.read(place) is not None else None


def _brought_from(reference: str) -> Path | None:
    """A hub's model under another name here, such as that of the archive that it came in."""
    for folder in whole_folders():
        written = manifest.read(folder) or {}
        if written.get("reference") == reference and written.get("source") in ("huggingface", "modelscope"):
            return folder
    return None


def is_hub_name(reference: str) -> bool:
    """Whether the words read as owner/name (and not as a path)."""
    return bool(_HUB_NAME.fullmatch(reference)) and not reference.endswith(ARCHIVES)


def folder_name(reference: str) -> str:
    """A safe folder name: `owner--name` for a hub's model, the last part without its archive ending for a path."""
    if is_hub_name(reference):
        name = reference.replace("/", "--")
    else:
        name = re.split(r"[/\\]", reference.rstrip("/\\"))[-1]
        ending = next((ending for ending in ARCHIVES if name.lower().endswith(ending)), "")
        name = name[: len(name) - len(ending)]
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-")
    return name.encode()[:200].decode(errors="ignore") or "model"


def _folders() -> list[Path]:
    place = settings.models_folder()
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def whole_folders() -> list[Path]:
    """Every folder with a manifest, by name: models and adapters, damaged ones too."""
    return [folder for folder in _folders() if not folder.name.startswith(".") and manifest.read(folder) is not None]
