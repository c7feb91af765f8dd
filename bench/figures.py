"""Published, measured memory figures as cases for `appliance estimate`: a config.json and the command's own words.

The figures belong to whoever published them and are no part of this project; where the file does not stand, there is
nothing to compare with. Its README explains the fields.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from appliance.planning.shape import Shape, read_shape

_SHAPE = (
    "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size",
)  # fmt: skip
# Full, LoRA and QLoRA in their usual forms; other adapters have no formula here.
_METHODS = {
    "lora": "lora", "dora": "dora", "full": "full", "lora+embeddings": "lora", "lora-8bit-base": "lora",
    "qlora-nf4": "qlora", "qlora-gptq": "qlora", "qlora-awq": "qlora",
}  # fmt: skip
# What a config.json would say, and the published table does not: the family, by a part of the model's name.
_FAMILIES = {"gemma-2-": "gemma2", "qwen3": "qwen3", "baichuan": "baichuan"}


@dataclass(frozen=True)
class Case:
    """One figure. `measured` in GiB, exact within `half_width`; `words` are those of `appliance estimate`."""

    name: str
    family: str
    cluster: str
    shape: Shape
    words: dict[str, Any]
    measured: float
    half_width: float

    def error(self, estimate: float) -> float:
        """Relative error; what rounding may have hidden does not count."""
        off = estimate - self.measured
        return (max(0.0, abs(off) - self.half_width) * (1 if off > 0 else -1)) / self.measured


def training_cases(file: Path) -> list[Case]:
    """Single GPU, text, with every fact that the estimate needs."""
    return [_training(row) for row in _rows(file) if row["task"] not in ("serve", "load") and _has_facts(row)]


def serving_cases(file: Path) -> list[Case]:
    """Single GPU, text, known lengths and kind of reading."""
    kind_known = [row for row in _rows(file) if row["task"] == "serve" and "torch max" in str(row["figure_kind"])]
    return [_serving(row) for row in kind_known if _complete(row) and row["actual_tokens"]]


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _complete(row: dict[str, Any]) -> bool:
    arch = row["arch"] or {}
    return row["n_gpus"] == 1 and row["modality"] == "text" and all(arch.get(name) is not None for name in _SHAPE)


def _has_facts(row: dict[str, Any]) -> bool:
    tokens = row["actual_tokens"] or (row["seq_reached"] in (True, "likely") and row["max_seq_len"])
    known = row["gradient_checkpointing"] is not None and row["offload"] in (None, "none")
    return bool(_complete(row) and tokens and known and row["method"] in _METHODS)


def _training(row: dict[str, Any]) -> Case:
    loss = row["fused_loss"] or "none"
    targets = ",".join(row["lora_target_modules"] or ["all-linear"])
    if row["method"] == "lora+embeddings":
        targets += ",wte,lm_head"
    words = {
        "task": row["task"],
        "method": _METHODS[row["method"]],
        "rank": row["lora_rank"],
        "targets": targets,
        "batch": row["micro_batch_size"],
        "length": row["actual_tokens"] or row["max_seq_len"],
        "optimizer": _word(row["optimizer"], {"8bit": "adamw_8bit", "fused": "adamw_torch_fused"}, "adamw_torch"),
        "checkpointing": row["gradient_checkpointing"],
        "attention": _word(row["attention"], {"not flash": "sdpa", "register": "sdpa", "flash_": "flash"}, "sdpa"),
        "loss": _word(loss, {"chunk": "chunked", "none": "plain"}, "fused"),
        "quant": _quant(row["quant"]),
        "sharding": _word(row["sharding"], {"zero3": "zero3", "zero2": "zero2"}, "none"),
        "figure": _figure(row),
    }
    return _case(row, words)


def _serving(row: dict[str, Any]) -> Case:
    tokens, new = row["actual_tokens"], row["new_tokens"] or 0
    words = {
        "task": "serve",
        "batch": row["micro_batch_size"],
        "length": tokens,
        "prompt": max(1, tokens - new),
        "quant": _quant(row["quant"]),
        "loss": "plain" if "full fp32 logits" in (row["notes"] or "") else None,
        "figure": _figure(row),
    }
    return _case(row, words)


def _case(row: dict[str, Any], words: dict[str, Any]) -> Case:
    config = {name: value for name, value in row["arch"].items() if value is not None}
    name = str(row["model"] or row["model_as_written"]).lower()
    config["model_type"] = next((kind for part, kind in _FAMILIES.items() if part in name), "llama")
    shape = _shape(json.dumps(config))
    half_width = row["rounding_half_width_gib"] or 0.0
    return Case(row["id"], row["family"], row["cluster"], shape, words, row["measured_gib"], half_width)


@cache
def _shape(config: str) -> Shape:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config)
        return read_shape(Path(folder))


def _word(text: str | None, words: dict[str, str], otherwise: str) -> str:
    return next((word for part, word in words.items() if part in (text or "").lower()), otherwise)


def _quant(text: str | None) -> str | None:
    # The KV cache in 8 bits is another matter.
    return None if not text or text.startswith("kv") else text.split(";")[0]


def _figure(row: dict[str, Any]) -> str:
    """Only what is proved or named counts; otherwise the device's reading."""
    kind = row["figure_kind"] or ""
    if "unknown" in kind:
        return "device"
    return _word(kind, {"allocated": "allocated", "reserved": "reserved"}, "device")
