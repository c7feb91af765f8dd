"""What a merge will write: each weight file, part by part, and the small files that change with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.merging import weights
from appliance.merging.adapter import Adapter
from appliance.merging.changes import Section
from appliance.merging.find import Changes, find
from appliance.merging.names import Names
from appliance.merging.pieces import Output, Part
from appliance.merging.weights import Shard, Tensor

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Plan:
    """outputs: the weight files. texts: small files whose content is new. changed: the number of changed tensors.

    shared  as in find.Changes
    """

    outputs: list[Output]
    texts: dict[str, str] = field(default_factory=dict)
    changed: int = 0
    shared: str = ""


def make(base: Path, weight_files: list[str], adapters: list[tuple[Path, float]], config: dict[str, Any]) -> Plan:
    """Raises NotStreamed for what must go through peft, ApplianceError for adapters that do not fit the base."""
    opened = [Adapter(folder, weight) for folder, weight in adapters]
    shards = [weights.read(base / name) for name in weight_files]
    names = Names(shards, tied=_tied(config))
    changes = find(opened, names, config)
    texts = {}
    if (base / _INDEX).is_file():
        texts[_INDEX] = (base / _INDEX).read_text(encoding="utf-8")
    outputs = [Output(shard.name, shard.header, tuple(_parts(shard, changes))) for shard in shards]
    if changes.new_head is not None:
        head, embedding, replace = changes.new_head
        was = embedding.tensor
        header = weights.with_more(shards[-1], [(head, was.dtype, was.shape, was.size)])
        sections = (Section(0, was.rows, [replace]),) if replace else ()
        source = None if replace else embedding.shard.path
        more = Part(source, was.start, was.size, was.dtype, was.columns, sections)
        outputs[-1] = Output(outputs[-1].name, header, (*outputs[-1].parts, more))
        texts["config.json"] = _dump(_untied(config))
        if _INDEX in texts:
            index = json.loads(texts[_INDEX])
            index["weight_map"][head] = shards[-1].name
            if "total_size" in index.get("metadata", {}):
                index["metadata"]["total_size"] += was.size
            texts[_INDEX] = _dump(index)
    return Plan(outputs, texts, len(changes.sections) + (changes.new_head is not None), changes.shared)


def identity(base: Path, weight_files: list[str], adapters: list[tuple[Path, float]]) -> dict[str, Any]:
    """What is merged: an interrupted merge goes on only where all of it is as it was."""
    sources = [base / name for name in weight_files]
    sources += [
        folder / name for folder, _w in adapters for name in ("adapter_config.json", "adapter_model.safetensors")
    ]
    return {
        "sources": [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in sources],
        "weights": [weight for _folder, weight in adapters],
    }


def _parts(shard: Shard, changes: Changes) -> list[Part]:
    """The shard's tensors, neighbours that stay as they are together."""
    parts: list[Part] = []
    for tensor in shard.tensors:
        sections = changes.sections.get(tensor.name)
        if sections:
            parts.append(
                Part(shard.path, tensor.start, tensor.size, tensor.dtype, tensor.columns, _covering(tensor, sections))
            )
        elif parts and not parts[-1].sections and parts[-1].start + parts[-1].size == tensor.start:
            parts[-1] = Part(shard.path, parts[-1].start, parts[-1].size + tensor.size)
        else:
            parts.append(Part(shard.path, tensor.start, tensor.size))
    return parts


def _covering(tensor: Tensor, sections: list[Section]) -> tuple[Section, ...]:
    """The sections in their order, and between them those rows that stay as they are."""
    covered, at = [], 0
    for section in sorted(sections, key=lambda one: one.first):
        if section.first > at:
            covered.append(Section(at, section.first))
        covered.append(section)
        at = section.last
    if at < tensor.rows:
        covered.append(Section(at, tensor.rows))
    return tuple(covered)


def _tied(config: dict[str, Any]) -> bool | None:
    """What config.json says of the head; None where it says nothing."""
    for part in (config, config.get("text_config") or {}):
        if "tie_word_embeddings" in part:
            return bool(part["tie_word_embeddings"])
    return None


def _untied(config: dict[str, Any]) -> dict[str, Any]:
    changed = {**config, "tie_word_embeddings": False}
    if "tie_word_embeddings" in (config.get("text_config") or {}):
        changed["text_config"] = {**config["text_config"], "tie_word_embeddings": False}
    return changed


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
