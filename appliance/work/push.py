"""The push job: a model or an adapter of this machine into a repository at a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.hub import push
from appliance.hub.manifest import is_adapter
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """spec: {model, hub, reference, public}: the folder, and where it goes. Returns where it is now."""
    spec = context.spec
    folder = Path(spec["model"])
    pushed = push.push(
        folder,
        spec["hub"],
        spec["reference"],
        public=bool(spec["public"]),
        progress=lambda done, total, file: context.progress("sending", done, total, "B", file=file),
        check_stopped=context.check_stopped,
    )
    return {"adapter" if is_adapter(folder) else "model": str(folder), **pushed}
