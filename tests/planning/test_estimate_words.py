"""`appliance estimate`: its words, a folder with nothing but a config.json, and the bench on figures made up here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ApplianceError, UsageError
from appliance.planning.estimate_words import estimate_folder, read_settings
from appliance.planning.serving_estimate import Serving
from appliance.planning.training import Training

ROOT = Path(__file__).parents[2]
CONFIG = {
    "model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 4096, "intermediate_size": 12288,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPLIANCE_LANG", "en")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_defaults_are_this_appliances_own_worker() -> None:
    assert read_settings({}) == Training()
    assert read_settings({"task": "serve"}) == Serving(length=1024, prompt=256)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ({"targets": "q_proj,v_proj"}, {"targets": ("q", "v")}),
        ({"targets": "all-linear"}, {"targets": None}),
        ({"targets": "c_attn,c_proj,w1,w2"}, {"targets": ("q", "k", "v", "o", "down", "gate", "up")}),
        ({"targets": "query,projection,mlp,head"}, {"targets": ("q", "o", "gate", "up", "down", "head")}),
        ({"targets": "q_proj,embed_tokens,lm_head"}, {"targets": ("q",), "whole": ("embed", "head")}),
        ({"targets": r"model\.layers\.\d+\.self_attn\.(q|k)_proj"}, {"targets": ("q", "k")}),
        ({"method": "qlora", "quant": "bnb-nf4 + double quant"}, {"method": "qlora", "quant": "nf4-dq"}),
        ({"method": "qlora-gptq"}, {"method": "qlora", "quant": "gptq-int4"}),
        ({"quant": "8bit"}, {"quant": "int8"}),
        ({"quant": "bf16"}, {"quant": None}),
        ({"quant": "fp32"}, {"dtype_bytes": 4}),
        ({"attention": "flash_attention_2"}, {"attention": "flash"}),
        ({"attention": "auto", "loss": "liger"}, {"attention": "sdpa", "loss": "fused"}),
        ({"optimizer": "paged_adamw_8bit"}, {"optimizer": "adamw_8bit"}),
        ({"optimizer": "torch.optim.AdamW"}, {"optimizer": "adamw_torch"}),
        ({"checkpointing": "no", "task": "rm"}, {"checkpointing": False, "task": "reward"}),
        ({"sharding": "fsdp2", "gpus": 2}, {"sharding": "fsdp", "gpus": 2}),
    ],
)  # fmt: skip
def test_words(words: dict[str, Any], meant: dict[str, Any]) -> None:
    assert read_settings(words) == Training(**meant)


def test_every_wrong_word_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_LANG", "en")
    wrong = {
        "task": "sing", "method": "magic", "rank": 0, "targets": "nose", "batch": "two", "length": -1, "optimizer": "x",
        "checkpointing": "perhaps", "attention": "deficit", "loss": "great", "quant": "coarse", "figure": "eight",
        "gpus": True, "sharding": "glass",
    }  # fmt: skip
    with pytest.raises(UsageError) as caught:
        read_settings(wrong)
    assert len(caught.value.problems) == len(wrong)
    with pytest.raises(UsageError, match="estimated") as caught:
        read_settings({"method": "full", "quant": "nf4"})
    assert "must not be packed" in caught.value.problems[0]


def test_a_config_is_enough_and_fast(folder: Path) -> None:
    estimate_folder(folder, {})
    spent = []
    for _ in range(10):
        start = time.process_time()
        made = estimate_folder(folder, {"method": "qlora", "loss": "plain", "sharding": "zero2", "checkpointing": "no"})
        spent.append(time.process_time() - start)
    assert sorted(spent)[5] < 0.05  # one in which Python collects its garbage says nothing
    assert made.low_gib < made.total_gib < made.high_gib
    assert made.total_gib == pytest.approx(sum(made.parts.values()))
    (folder / "config.json").unlink()
    with pytest.raises(ApplianceError):
        estimate_folder(folder, {})


def test_the_command(folder: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APPLIANCE_HOME": str(folder / "home"), "APPLIANCE_LANG": "en"}
        command = [sys.executable, "-m", "appliance", "estimate", "--model", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    answer = json.loads(run("--method", "qlora", "--length", "2048", "--figure", "reserved", "--json").stdout)
    assert set(answer) == {"total_gib", "low_gib", "high_gib", "parts"}
    assert {"weights", "adapter", "gradients", "optimizer", "activations", "logits"} <= set(answer["parts"])
    assert "context" not in answer["parts"]
    served = json.loads(run("--task", "serve", "--length", "8192", "--batch", "4", "--json").stdout)
    assert served["parts"]["kv_cache"] == pytest.approx(4 * 8192 * 147_456 / 2**30, abs=0.001)
    assert "Weights" in run().stdout
    assert run("--loss", "great").returncode == 2


def test_the_bench(folder: Path, tmp_path: Path) -> None:
    arch = {name: value for name, value in CONFIG.items() if name != "model_type"}
    common = {
        "model": "a/b", "model_as_written": "b", "arch": arch, "modality": "text", "n_gpus": 1, "quant": None,
        "micro_batch_size": 1, "rounding_half_width_gib": 0.05, "notes": None, "new_tokens": 1, "actual_tokens": 1024,
        "family": "made-up",
    }  # fmt: skip
    trained = {
        **common, "task": "sft", "method": "lora", "lora_rank": 16, "lora_target_modules": ["q_proj"], "offload": None,
        "max_seq_len": 1024, "seq_reached": True, "gradient_checkpointing": True, "attention": "sdpa",
        "sharding": "none", "fused_loss": "liger", "optimizer": "adamw_torch",
        "figure_kind": "torch max_memory_allocated",
    }  # fmt: skip
    served = {**common, "task": "serve", "figure_kind": "torch max_memory_allocated", "id": "s", "cluster": "c"}
    served |= {"measured_gib": 15.6}
    rows = [{**trained, "id": str(n), "cluster": f"c{n}", "measured_gib": 16.0} for n in range(2)]
    figures = tmp_path / "figures.jsonl"
    figures.write_text("\n".join(json.dumps(row) for row in [*rows, served]))

    def bench(file: Path) -> str:
        command = [sys.executable, str(ROOT / "bench" / "estimate.py"), str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    text = bench(figures)
    assert "2 figures, 2 clusters" in text and "left out of the fit" in text and "LLaMA-Factory" in text
    assert "no figures" in bench(tmp_path / "nothing")
