"""The download job: a model or an adapter from a hub, a folder or an archive into the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import settings
from appliance.hub import manifest
from appliance.hub.fetch import fetch
from appliance.hub.workspace import folder_name
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """spec: {reference, source, revision, to}; `to` None: the workspace. Returns what came, with each file's sha256."""
    spec = context.spec
    reference = str(spec["reference"])
    to = Path(spec["to"]).expanduser() if spec.get("to") else settings.models_folder() / folder_name(reference)
    folder = fetch(
        reference,
        source=spec.get("source") or "auto",
        revision=spec.get("revision"),
        to=to,
        progress=lambda phase, done, total, file, **more: context.progress(phase, done, total, "B", file=file, **more),
        check_stopped=context.check_stopped,
        note=context.note,
    )
    written = manifest.read(folder)
    assert written is not None
    return {
        "model": str(folder),
        "reference": written["reference"],
        "source": written["source"],
        "revision": written["revision"],
        "files": len(written["files"]),
        "bytes": sum(entry["size"] for entry in written["files"].values()),
        "sha256": {name: entry["sha256"] for name, entry in written["files"].items()},
    }
