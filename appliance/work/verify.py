"""The verify job: every byte of the models read again. It fails when one is damaged, and says which files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.hub import manifest
from appliance.hub.verify import damage, verify
from appliance.locale import _
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """spec: {models: folders}. Returns what was read. Raises ApplianceError with every wrong file of every model."""
    folders = [Path(folder) for folder in context.spec["models"]]
    written = [manifest.read(folder) or {"files": {}} for folder in folders]
    total = sum(int(entry["size"]) for value in written for entry in value["files"].values())
    done = 0

    def read(folder: Path, name: str, count: int) -> None:
        nonlocal done
        done += count
        context.progress("verifying", min(done, total), total, "B", file=f"{folder.name}/{name}")

    verdicts = []
    for folder in folders:
        verdict = verify(folder, lambda name, count: read(folder, name, count), context.check_stopped)  # noqa: B023
        verdicts.append(verdict)
        for name in verdict.extra[:10]:
            sentence = _("{model}: {file} does not belong to it. Delete it, unless you put it there yourself.")
            context.warn(sentence.format(model=folder.name, file=name))
    context.progress("verifying", total, total, "B")
    if any(verdict.damaged for verdict in verdicts):
        raise damage(verdicts)
    return {
        "models": [verdict.folder.name for verdict in verdicts],
        "files": sum(verdict.files for verdict in verdicts),
        "bytes": sum(verdict.bytes for verdict in verdicts),
    }
