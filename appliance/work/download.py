"""The download job: a model or an adapter from a hub, a folder or an archive, or a hub's data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import settings
from appliance.hub import manifest
from appliance.hub.data_files import is_data
from appliance.hub.fetch import fetch
from appliance.hub.workspace import folder_name
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """spec: {reference, source, revision, to, of}; `to` None: the workspace; `of`: model | dataset.

    Returns what came, with each file's sha256; `data`: the files with rows.
    """
    spec = context.spec
    reference = str(spec["reference"])
    data = spec.get("of") == "dataset"
    to = Path(spec["to"]).expanduser() if spec.get("to") else settings.models_folder() / folder_name(reference)
    folder = fetch(
        reference,
        source=spec.get("source") or "auto",
        revision=spec.get("revision"),
        to=to,
        progress=lambda phase, done, total, file, **more: context.progress(phase, done, total, "B", file=file, **more),
        check_stopped=context.check_stopped,
        note=context.note,
        kind="dataset" if data else "model",
    )
    written = manifest.read(folder)
    assert written is not None
    return {
        **({"data": _rows(folder, written)} if data else {"model": str(folder)}),
        "reference": written["reference"],
        "source": written["source"],
        "revision": written["revision"],
        "files": len(written["files"]),
        "bytes": sum(entry["size"] for entry in written["files"].values()),
        "sha256": {name: entry["sha256"] for name, entry in written["files"].items()},
    }


def _rows(folder: Path, written: dict[str, Any]) -> list[str]:
    """The files with rows, the largest first."""
    sizes = {name: entry["size"] for name, entry in written["files"].items() if is_data(name)}
    return [str(folder / name) for name in sorted(sizes, key=lambda name: (-sizes[name], name))]
