"""What a fine-tune of all weights leaves: a model of its own in the workspace, ready to be served."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from appliance import files
from appliance.hub import manifest
from appliance.hub import model as models
from appliance.work import checkpoints, loading, same_answers, seeing
from appliance.work.context import Context

_CARRIED = ("generation_config.json",)


def made_before(context: Context) -> dict[str, Any] | None:
    """The result of this very job where its model already stands: it was killed before it could say so."""
    written = manifest.read(Path(context.spec["to"])) if context.spec.get("to") else None
    if written is None or written.get("reference") != context.id:
        return None
    return dict(written["finetune"]["result"])


def round_off(model: Any, base: Path) -> None:
    """To the precision that the base has on disk: what is asked from here on is asked of what will be served."""
    import torch
    from transformers import AutoConfig

    stored = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False).dtype
    if isinstance(stored, torch.dtype):
        model.to(stored)


def save(model: Any, tokenizer: Any, base: Path, context: Context, result: dict[str, Any]) -> None:
    """The model with all that serving needs, under its name once it is whole. Raises OSError for a full disk."""
    to = Path(context.spec["to"])
    staging = to.with_name(f".{to.name}.{context.id}")
    shutil.rmtree(staging, ignore_errors=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with checkpoints.full_disk_told(to):
            model.config.use_cache = True
            model.save_pretrained(staging, safe_serialization=True)
            tokenizer.save_pretrained(staging)
        if context.spec.get("sees"):
            seeing.keep(base, staging)
        for name in _CARRIED:
            if (base / name).exists():
                shutil.copyfile(base / name, staging / name)
        same_answers.keep(model, tokenizer, staging, context.folder / "rows.jsonl", str(model.dtype).split(".")[-1])
        models.inspect(staging)
        for path in staging.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        hashes = {path.name: files.sha256(path) for path in sorted(staging.iterdir()) if path.is_file()}
        result["files"] = {
            name: {"size": (staging / name).stat().st_size, "sha256": sha} for name, sha in hashes.items()
        }
        origin = loading.origin(base, context.spec.get("base") or {})
        more = {"finetune": {"result": result, "base": origin, "data": context.spec.get("data")}}
        manifest.write(staging, source="finetune", reference=context.id, revision=None, hashes=hashes, more=more)
        os.rename(staging, to)
        files.sync_folder(to.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
