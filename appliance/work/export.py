"""The export job: a model of the workspace out to a stick or a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.hub.export import export
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """spec: {model, to}: the model's folder, and a .tar file or a folder to make. Returns where it stands now."""
    made = export(
        Path(context.spec["model"]),
        Path(context.spec["to"]),
        progress=lambda done, total, file: context.progress("exporting", done, total, "B", file=file),
        check_stopped=context.check_stopped,
        again=context.attempt > 1,
    )
    return {"model": str(made.folder), "exported": str(made.to), "files": len(made.parts), "bytes": made.total}
