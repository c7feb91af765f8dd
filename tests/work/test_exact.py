"""`appliance estimate --exact`: counted bytes against bytes computed by hand, in a real worker process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.planning import exact
from appliance.planning.estimate_words import read_settings
from appliance.planning.training import Training

HIDDEN, INNER, HEADS, KV, WIDTH, LAYERS, VOCAB, RANK = 128, 384, 4, 2, 32, 2, 1000, 8
CONFIG = {
    "model_type": "qwen3", "num_hidden_layers": LAYERS, "hidden_size": HIDDEN, "intermediate_size": INNER,
    "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": WIDTH, "vocab_size": VOCAB,
    "tie_word_embeddings": True,
}  # fmt: skip
LINEAR = [
    (HIDDEN, HEADS * WIDTH), (HIDDEN, KV * WIDTH), (HIDDEN, KV * WIDTH), (HEADS * WIDTH, HIDDEN),
    (HIDDEN, INNER), (HIDDEN, INNER), (INNER, HIDDEN),
]  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "lora": {},
    "stored": {"checkpointing": "no"},
    "longer": {"length": 512},
    "eager": {"checkpointing": "no", "attention": "eager"},
    "plain": {"loss": "plain"},
    "padded": {"checkpointing": "no", "length": 128, "batch": 2},
    "some": {"targets": "q_proj,v_proj"},
    "qlora": {"method": "qlora", "optimizer": "paged_adamw_8bit"},
    "full": {"method": "full"},
    "full8": {"method": "full", "optimizer": "adamw_8bit"},
    "dora": {"method": "dora", "checkpointing": "no"},
}


def _run(folder: Path, words: dict[str, Any]) -> dict[str, Any]:
    run = read_settings({"rank": RANK, "length": 256, **words})
    assert isinstance(run, Training)
    return exact.settings_of(folder, run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    (place / "config.json").write_text(json.dumps(CONFIG))
    return place


@pytest.fixture(scope="module")
def counted(folder: Path) -> dict[str, dict[str, int]]:
    answers = exact.count([_run(folder, words) for words in CASES.values()])
    return {name: _worst(answer) for name, answer in zip(CASES, answers, strict=True)}


def _worst(answer: dict[str, Any]) -> dict[str, int]:
    """Bytes by label when most were alive."""
    return dict(max(answer["moments"].values(), key=lambda parts: sum(parts.values())))


def _blocks(*sizes: float) -> int:
    """As the allocator rounds: each to 512 bytes."""
    return sum(max(512, -(-int(size) // 512) * 512) for size in sizes)


def _rest(layers: int = LAYERS) -> int:
    """Embeddings and norms in 16 bits, and the two tables of rotary frequencies in float32."""
    norms = layers * _blocks(2 * HIDDEN, 2 * HIDDEN, 2 * WIDTH, 2 * WIDTH) + _blocks(2 * HIDDEN)
    return _blocks(2 * VOCAB * HIDDEN) + norms + 2 * _blocks(2 * WIDTH)


def _adapter(width: int, matrices: list[tuple[int, int]] = LINEAR) -> int:
    return LAYERS * sum(_blocks(width * RANK * a, width * RANK * b) for a, b in matrices)


def test_weights_adapter_and_optimizer_to_the_byte(counted: dict[str, dict[str, int]]) -> None:
    parts = counted["longer"]
    assert parts["weights"] == _rest() + LAYERS * sum(_blocks(2 * a * b) for a, b in LINEAR)
    assert parts["adapter"] == parts["gradients"] == _adapter(4)
    # Two moments, and a count of steps for each of the adapters' matrices.
    assert parts["optimizer"] == 2 * _adapter(4) + 512 * 2 * LAYERS * len(LINEAR)
    assert counted["some"]["adapter"] == _adapter(4, [LINEAR[0], LINEAR[2]])


def test_packed_weights(counted: dict[str, dict[str, int]]) -> None:
    parts, packed = counted["qlora"], 0
    for a, b in LINEAR:
        scales = a * b / 64
        packed += _blocks(a * b / 2, scales, 4 * -(-scales // 256), 4, 16 * 4, 256 * 4)
    assert parts["weights"] == _rest() + LAYERS * packed
    assert parts["adapter"] == parts["gradients"] == _adapter(2)
    # bitsandbytes keeps the moments of matrices below 4096 values in float32: all of them here.
    assert parts["optimizer"] == 2 * _adapter(4)


def test_full_training(counted: dict[str, dict[str, int]]) -> None:
    parts = counted["full"]
    tables = 2 * _blocks(2 * WIDTH)  # not trained
    assert "adapter" not in parts
    assert parts["gradients"] == parts["weights"] - tables
    assert parts["optimizer"] >= 2 * parts["gradients"]
    assert counted["full8"]["optimizer"] < 0.6 * parts["optimizer"]


def test_what_takes_more(counted: dict[str, dict[str, int]]) -> None:
    def moving(name: str) -> int:
        parts = counted[name]
        return int(parts["activations"] + parts["logits"])

    assert moving("stored") > moving("lora")
    assert moving("longer") > moving("lora")
    # Scores of every pair of tokens in float32 and in 16 bits, kept in each layer (less what fused kernels keep).
    assert moving("eager") - moving("stored") > LAYERS * HEADS * 256 * 256 * 5
    # A mask in 16 bits for each of two rows, in each layer.
    assert moving("padded") - moving("stored") >= LAYERS * 2 * 128 * 128 * 2
    assert counted["plain"]["logits"] >= 12 * 255 * VOCAB
    assert moving("dora") > moving("stored")


def test_a_step_by_hand(tmp_path: Path) -> None:
    script = tmp_path / "toy.py"
    script.write_text(
        """
import json, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from appliance.work.storages import Storages
seen = Storages()
with FakeTensorMode(), seen:
    layer = torch.nn.Linear(1024, 2048, bias=False)
    x = torch.empty(4, 1024)
    seen.moment = "step"
    layer(x).sum().backward()
    alive = seen.allocated
    del x, layer
print(json.dumps([sum(seen.peaks["step"].values()), alive, seen.allocated]))
"""
    )
    done = subprocess.run(
        [settings.python_of("train"), script], env=settings.child_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peak, alive, left = json.loads(done.stdout)
    matrix, row = 4 * 1024 * 2048, 4 * 4 * 1024
    # At the worst the weights, their gradient and the input; the loss and its gradient are a block each.
    assert peak == 2 * matrix + row + 2 * 512
    assert alive == 2 * matrix + row
    assert left == 0


def test_the_command(folder: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "APPLIANCE_HOME": str(tmp_path), "APPLIANCE_LANG": "en"}
    command = [sys.executable, "-m", "appliance", "estimate", "--model", str(folder), "--exact", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    answer = json.loads(done.stdout)
    assert answer["exact"] is True and set(answer["versions"]) == {"torch", "transformers", "peft", "trl"}
    assert answer["total_gib"] == pytest.approx(sum(answer["parts"].values()), abs=0.005)
    assert answer["low_gib"] < answer["total_gib"] <= answer["high_gib"]
    assert {"weights", "adapter", "gradients", "optimizer", "activations", "logits", "context"} <= set(answer["parts"])


def test_what_can_not_be_counted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_LANG", "en")
    with pytest.raises(UsageError) as caught:
        exact.estimate_exactly(
            folder, {"task": "dpo", "loss": "chunked", "quant": "awq", "gpus": 2, "sharding": "fsdp"}
        )
    assert len(caught.value.problems) == 5
    (tmp_path / "config.json").write_text(
        json.dumps({**CONFIG, "model_type": "their_own", "auto_map": {"AutoModelForCausalLM": "theirs.Model"}})
    )
    (tmp_path / "theirs.py").write_text("raise SystemExit('code of a model folder was run')")
    with pytest.raises(ApplianceError, match="can't be built") as caught_class:
        exact.estimate_exactly(tmp_path, {})
    assert "--exact" in caught_class.value.next_step
    # What a model's class raises of itself, an AssertionError here, is words as well.
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "gemma3_text", "pad_token_id": VOCAB}))
    with pytest.raises(ApplianceError, match="can't be built") as caught_wrong:
        exact.estimate_exactly(tmp_path, {})
    assert "\n" not in caught_wrong.value.why
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path))
    with pytest.raises(ApplianceError, match="training environment"):
        exact.estimate_exactly(folder, {})
