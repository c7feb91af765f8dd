"""How a model that a job made comes to stand at its place: whole, and never over anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from appliance import files, output
from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub import model as models
from appliance.locale import _
from appliance.work.context import Context

# The small files beside the weights, and the journal.
_SPARE_BYTES = 64 * 2**20


class NoRoom(ApplianceError):
    """The disk is full before anything was written."""


def made_before(to: Path, context: Context) -> dict[str, Any] | None:
    """What the manifest of this very job says where its model stands already: it was killed before it could say so.

    None where nothing stands at `to`. Raises ApplianceError where something else does.
    """
    if not os.path.lexists(to):
        return None
    written = manifest.read(to) or {}
    if written.get("reference") != context.id:
        raise taken(to)
    return dict(written.get(context.kind) or {})


def check_space(weights: int, staging: Path) -> None:
    """Raises NoRoom where so many bytes of weights, and what stands beside them, have no room."""
    needed = weights + _SPARE_BYTES
    free = shutil.disk_usage(staging.parent).free
    if free < needed:
        raise NoRoom(
            _("The disk is full."),
            _("{needed} are needed and {free} are free in {folder}.").format(
                needed=output.size(needed), free=output.size(free), folder=staging.parent
            ),
            _("Free some space (`appliance jobs remove ID` removes finished jobs), then resume the job."),
        )


def appear(staging: Path, to: Path, context: Context, hashes: dict[str, str], kept: dict[str, Any]) -> None:
    """The manifest, then the name. `kept`: what else the manifest says of how it was made."""
    models.inspect(staging)
    manifest.write(
        staging, source=context.kind, reference=context.id, revision=None, hashes=hashes, more={context.kind: kept}
    )
    try:
        os.rename(staging, to)
    except OSError as error:
        raise (taken(to) if os.path.lexists(to) else error) from error
    files.sync_folder(to.parent)


def taken(to: Path) -> ApplianceError:
    """Something stands where the model should."""
    return ApplianceError(
        _("{folder} is there already.").format(folder=to),
        _("A model is never written over anything."),
        _("Choose another name with --to, or remove that folder first."),
    )
