"""Merging with peft itself, the whole model in memory: for what is not streamed. Runs in the training environment."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work import checkpoints, out_of_memory
from appliance.work.context import Context


def load_base(base: Path, config: dict[str, Any], dtype: Any) -> Any:
    """The model by the class that its config.json names, on the processor."""
    import transformers

    architectures = config.get("architectures") or [""]
    kind = getattr(transformers, str(architectures[0]), None) or transformers.AutoModelForCausalLM
    return kind.from_pretrained(base, dtype=dtype, local_files_only=True, use_safetensors=True)


def adapted(model: Any, adapters: list[tuple[Path, float]]) -> Any:
    """base + adapter(s) as peft runs them. Raises ApplianceError when peft leaves a tensor out."""
    from peft import PeftModel

    first, weight = adapters[0]
    found = PeftModel.from_pretrained(model, first, adapter_name="adapter0")
    for number, (folder, _weight) in enumerate(adapters):
        # Once more for the first one: only this call says what was left out.
        told = found.load_adapter(folder, f"adapter{number}")
        left_out = [*told.unexpected_keys, *told.missing_keys]
        if left_out:
            raise ApplianceError(
                _("Not everything in the adapter {name} has its place in this base model.").format(name=folder.name),
                _("peft would leave out: {names}.").format(names=", ".join(left_out[:5])),
                _("Name the model that it was trained on with --base."),
            )
    if len(adapters) > 1 or weight != 1:
        names = [f"adapter{number}" for number in range(len(adapters))]
        found.add_weighted_adapter(names, [one for _f, one in adapters], "together", combination_type="cat")
        found.set_adapter("together")
    return found


def merge(
    base: Path, adapters: list[tuple[Path, float]], config: dict[str, Any], staging: Path, context: Context
) -> None:
    """Everything that peft and transformers write of the merged model, on the disk. Raises ApplianceError."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    began = time.time()
    context.progress("merging", 0, 3)
    import torch

    dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"))
    model = load_base(base, config, dtype)
    context.progress("merging", 1, 3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merged = adapted(model, adapters).merge_and_unload()
    except (ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        if out_of_memory.is_out_of_memory(error):  # not the adapter's fault
            raise
        raise ApplianceError(
            _("peft can't merge this adapter."),
            str(error).strip().split("\n")[0],
            _("Serve it beside its base model instead, or convert it to LoRA where it was trained."),
        ) from error
    context.progress("merging", 2, 3)
    largest = max(path.stat().st_size for path in base.glob("*.safetensors"))
    with checkpoints.full_disk_told(staging):
        merged.save_pretrained(staging, safe_serialization=True, max_shard_size=max(largest, 2**20))
    for path in staging.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    files.sync_folder(staging)
    context.progress("merging", 3, 3, seconds=round(time.time() - began, 1))
