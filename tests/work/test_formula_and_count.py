"""The memory formula against the count of a real step, for small models of families that differ in their layers.

Both predict the same and neither has noise: 8 % apart is a mistake in one of them. bench/exact.py does the same for the
catalogue's models.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from appliance.planning import exact
from appliance.planning.estimate import GIB
from appliance.planning.estimate_words import estimate_folder, read_settings
from appliance.planning.training import FIGURES, Training

BASE = {
    "num_hidden_layers": 2, "hidden_size": 768, "intermediate_size": 2560, "num_attention_heads": 12,
    "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 48000, "tie_word_embeddings": True, "pad_token_id": 0,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {"tie_word_embeddings": False},
    "phi3": {"tie_word_embeddings": False},
    "gemma3_text": {"sliding_window": 256, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma2": {"query_pre_attn_scalar": 64},
    "minicpm3": {
        "num_key_value_heads": 12, "q_lora_rank": 192, "kv_lora_rank": 128, "qk_nope_head_dim": 64,
        "qk_rope_head_dim": 32, "v_head_dim": 64,
    },
}  # fmt: skip
OPTIMIZERS = {"lora": "adamw_torch", "qlora": "paged_adamw_8bit", "full": "adamw_torch"}
CASES = [
    (family, {"method": method, "length": length, "checkpointing": checkpointing, "optimizer": OPTIMIZERS[method]})
    for family, method, length, checkpointing in product(FAMILIES, OPTIMIZERS, (512, 2048), ("yes", "no"))
    if length == 2048 or family == "qwen3"
]
# Padded rows, and all logits at once.
CASES += [("qwen3", {"batch": 3, "length": 700, "checkpointing": "no"}), ("llama", {"length": 1024, "loss": "plain"})]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family, facts in FAMILIES.items():
        made[family] = tmp_path_factory.mktemp(family)
        config = {"model_type": family, **BASE, **facts}
        (made[family] / "config.json").write_text(json.dumps(config))
    return made


def test_they_agree(folders: dict[str, Path]) -> None:
    wanted = []
    for family, words in CASES:
        run = read_settings(words)
        assert isinstance(run, Training)
        wanted.append(exact.settings_of(folders[family], run))
    far = []
    for (family, words), answer in zip(CASES, exact.count(wanted), strict=True):
        for figure in FIGURES:
            counted = exact.reading(answer, figure, plain=words.get("loss") == "plain").total_gib
            formula = estimate_folder(folders[family], {**words, "figure": figure}).total_gib
            off = 100 * (formula / counted - 1)
            if abs(off) > 8:
                far.append(f"{family} {words} {figure}: {formula * GIB:.0f} and {counted * GIB:.0f} ({off:+.1f} %)")
    assert not far, "\n".join(far)
