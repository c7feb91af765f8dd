"""Merge: base + adapter → one model, tensor by tensor from safetensors to safetensors.

Each tensor is read once and written once, in blocks, with numpy: no torch, no GPU, a few hundred megabytes at most.
What an adapter may hold beyond plain LoRA on linear layers goes through peft in the training environment instead.
Always onto the original 16- or 32-bit base, never onto 4-bit weights.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import time
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from appliance import files
from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub import model as models
from appliance.locale import _
from appliance.work import checkpoints
from appliance.work.context import Context

_BLOCK_BYTES = 16 * 2**20
_CARRIED = re.compile(r".*\.(json|jinja|model|txt)$|LICENSE.*|NOTICE.*|README\.md$", re.I)
_NOT_CARRIED = re.compile(r"adapter_config\.json$|appliance-.*\.json$|manifest\.json$|.*\.safetensors\.index\.json$")
_WIDTH = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass
class Delta:
    """What LoRA adds to one weight: scale · (B @ A), with A (rank, in) and B (out, rank) in float32."""

    a: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]
    scale: float


class _NotPlain(Exception):
    """The adapter holds something that is not streamed here."""


def run(context: Context) -> dict[str, Any]:
    """Spec: adapter (folder), base (folder), to (folder), name. The result stands at `to`, whole, or not at all."""
    adapter, base, to = (Path(context.spec[name]) for name in ("adapter", "base", "to"))
    if to.exists():
        if (manifest.read(to) or {}).get("reference") == context.id:
            return _result(context, to, adapter, base, "kept")  # finished, but killed before it could say so
        raise _taken(to)
    config = files.read_json(base / "config.json")
    if "quantization_config" in config:
        raise ApplianceError(
            _("The base model {name} is quantised.").format(name=base.name),
            _("Merging onto 4- or 8-bit weights loses what was learned."),
            _("Download the original 16-bit model and name it with --base."),
        )
    # Of this job alone: two merges to one name must not share it.
    staging = to.with_name(f".{to.name}.{context.id}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        try:
            deltas = read_deltas(adapter)
            _check_targets(deltas, base)
            _stream(base, deltas, staging, context)
            way = "streamed"
        except _NotPlain as reason:
            if os.environ.get("APPLIANCE_ENVIRONMENT") != "train":
                context.note(_("This adapter goes through peft ({reason}).").format(reason=reason))
                context.continue_in("train")
            _through_peft(base, adapter, staging, context)
            way = "peft"
        # peft's config.json stays: a layer that was trained as a whole may be tied to another one no more.
        _carry_over(base, staging, keep={path.name for path in staging.iterdir()})
        _carry_over(adapter, staging)
        context.progress("verifying", 0, 1)
        models.inspect(staging)
        manifest.write(staging, source="merge", reference=context.id, revision=None)
        context.progress("verifying", 1, 1)
        try:
            os.rename(staging, to)
        except OSError as error:
            raise (_taken(to) if to.exists() else error) from error
        files.sync_folder(to.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _result(context, to, adapter, base, way)


def _taken(to: Path) -> ApplianceError:
    return ApplianceError(
        _("{folder} is there already.").format(folder=to),
        _("A merge never writes over anything."),
        _("Choose another name with --to, or remove that folder first."),
    )


def _result(context: Context, to: Path, adapter: Path, base: Path, way: str) -> dict[str, Any]:
    return {
        "model": str(to),
        "name": context.spec["name"],
        "adapter": str(adapter),
        "base": str(base),
        "way": way,
        "files": (manifest.read(to) or {}).get("files"),
        "merged": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


# --- reading ---------------------------------------------------------------------------------------------------------


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], bytes]:
    """A safetensors file's tensors (dtype, shape, data_offsets) and its raw header with the length in front."""
    with path.open("rb") as file:
        prefix = file.read(8)
        (length,) = struct.unpack("<Q", prefix)
        raw = file.read(length)
    tensors = json.loads(raw)
    tensors.pop("__metadata__", None)
    return tensors, prefix + raw


def _read_tensor(path: Path, header_bytes: int, facts: dict[str, Any]) -> np.ndarray[Any, Any]:
    start, end = facts["data_offsets"]
    with path.open("rb") as file:
        file.seek(header_bytes + start)
        return to_float32(file.read(end - start), facts["dtype"]).reshape(facts["shape"])


def read_deltas(adapter: Path) -> dict[str, Delta]:
    """The adapter's deltas by the name of the base weight they belong to. Raises _NotPlain for anything but LoRA."""
    config = files.read_json(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise _NotPlain(config.get("peft_type"))
    for name in (
        "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices",
        "target_parameters", "layer_replication", "lora_bias", "use_bdlora", "arrow_config",
    ):  # fmt: skip
        if config.get(name):
            raise _NotPlain(name)
    if config.get("bias", "none") != "none":
        raise _NotPlain("bias")
    path = adapter / "adapter_model.safetensors"
    tensors, header = read_header(path)
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    halves: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, facts in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if not match:
            raise _NotPlain(name)
        halves.setdefault(match[1] + ".weight", {})[match[2]] = _read_tensor(path, len(header), facts)
    return {name: Delta(half["A"], half["B"], scale) for name, half in halves.items()}


def _check_targets(deltas: dict[str, Delta], base: Path) -> None:
    """Every delta must find its weight, in its shape, before anything is written."""
    found: dict[str, dict[str, Any]] = {}
    for path in _shards(base):
        found.update(read_header(path)[0])
    for name, delta in deltas.items():
        facts = found.get(name)
        if facts is None:
            raise _NotPlain(name)
        if facts["dtype"] not in _WIDTH:
            raise _NotPlain(facts["dtype"])
        if facts["shape"] != [delta.b.shape[0], delta.a.shape[1]]:
            raise ApplianceError(
                _("The adapter does not fit this base model."),
                _("{name} is {shape} in the base and {other} in the adapter.").format(
                    name=name, shape=facts["shape"], other=[delta.b.shape[0], delta.a.shape[1]]
                ),
                _("Name the model that it was trained on with --base."),
            )


def _shards(base: Path) -> list[Path]:
    return sorted(base.glob("*.safetensors"))


# --- numbers ---------------------------------------------------------------------------------------------------------


def to_float32(raw: bytes | memoryview, dtype: str) -> np.ndarray[Any, Any]:
    """Bytes of F32, F16 or BF16 as float32. bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32)


def from_float32(values: np.ndarray[Any, Any], dtype: str) -> bytes:
    """The opposite, rounded once to the nearest, ties to even; NaN stays NaN."""
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded).astype("<u2").tobytes()


# --- writing ---------------------------------------------------------------------------------------------------------


def _stream(base: Path, deltas: dict[str, Delta], staging: Path, context: Context) -> None:
    """Every shard again, with the same header: shapes and dtypes stay, so do all offsets."""
    shards = _shards(base)
    total = sum(path.stat().st_size for path in shards)
    done = 0
    for path in shards:
        tensors, header = read_header(path)
        with path.open("rb") as source, files.replacing(staging / path.name) as target:
            target.write(header)
            for name, facts in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"][0]):
                source.seek(len(header) + facts["data_offsets"][0])
                size = facts["data_offsets"][1] - facts["data_offsets"][0]
                for block in _blocks(source, size, facts, deltas.get(name)):
                    context.check_stopped()
                    target.write(block)
                    done += len(block)
                    context.progress("merging", done, total, "B")
    for index in base.glob("*.safetensors.index.json"):
        shutil.copyfile(index, staging / index.name)
    context.progress("merging", total, total, "B")


def _blocks(source: IO[bytes], size: int, facts: dict[str, Any], delta: Delta | None) -> Any:
    """A tensor's bytes in pieces of whole rows, with the delta added."""
    row = size if delta is None else facts["shape"][1] * _WIDTH[facts["dtype"]]
    step = _BLOCK_BYTES if delta is None else max(1, _BLOCK_BYTES // row) * row
    for start in range(0, size, step):
        raw = source.read(min(step, size - start))
        if delta is None:
            yield raw
            continue
        first, last = start // row, (start + len(raw)) // row
        weight = to_float32(raw, facts["dtype"]).reshape(last - first, -1)
        yield from_float32(weight + delta.scale * (delta.b[first:last] @ delta.a), facts["dtype"])


def _carry_over(source: Path, staging: Path, keep: Set[str] = frozenset()) -> None:
    """Config, tokenizer, chat template, generation config, licence: never code, never weights, nothing in `keep`."""
    for path in sorted(source.iterdir()):
        if (
            path.name not in keep
            and path.is_file()
            and _CARRIED.fullmatch(path.name)
            and not _NOT_CARRIED.match(path.name)
        ):
            with files.replacing(staging / path.name) as target:
                target.write(path.read_bytes())


def _through_peft(base: Path, adapter: Path, staging: Path, context: Context) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    began = time.time()
    context.progress("merging", 0, 3)
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    stored = files.read_json(base / "config.json")
    dtype = getattr(torch, str(stored.get("dtype") or stored.get("torch_dtype") or "bfloat16"))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, local_files_only=True, use_safetensors=True)
    context.progress("merging", 1, 3)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    context.progress("merging", 2, 3)
    with checkpoints.full_disk_told(staging):
        merged.save_pretrained(staging, safe_serialization=True)
    context.progress("merging", 3, 3, seconds=round(time.time() - began, 1))
