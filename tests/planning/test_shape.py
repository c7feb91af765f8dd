"""config.json and safetensors headers, good and hostile."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.planning.shape import read_shape

QWEN = {
    "model_type": "qwen3", "num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936,
    "tie_word_embeddings": True, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
}  # fmt: skip


def _model(folder: Path, config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def _weights(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    size = {"BF16": 2, "F32": 4, "F16": 2, "U8": 1}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in tensors.items():
        count = 1
        for n in shape:
            count *= n
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + count * size[kind]]}
        end += count * size[kind]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * end)


def test_config_alone(tmp_path: Path) -> None:
    shape = read_shape(_model(tmp_path, QWEN))
    # The published size: 0.596 billion.
    assert shape.parameters == pytest.approx(0.596e9, rel=0.002)
    assert (shape.layers, shape.kv_heads, shape.head_dim, shape.tied, shape.dtype) == (28, 8, 128, True, "bfloat16")


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        ({"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
          "intermediate_size": 11008, "vocab_size": 32000}, 6.738),
        ({"model_type": "chatglm", "num_layers": 28, "hidden_size": 4096, "num_attention_heads": 32, "kv_channels": 128,
          "ffn_hidden_size": 13696, "padded_vocab_size": 65024, "multi_query_attention": True,
          "multi_query_group_num": 2, "seq_length": 8192}, 6.244),
        ({"model_type": "gemma3",
          "vision_config": {"num_hidden_layers": 27, "hidden_size": 1152, "intermediate_size": 4304},
          "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 34, "hidden_size": 2560, "head_dim": 256,
          "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 10240, "vocab_size": 262208}}, 4.30),
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257,
          "n_positions": 1024}, 0.124),
        ({"model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32,
          "head_dim": 128,
          "num_key_value_heads": 4, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
          "num_experts_per_tok": 8, "vocab_size": 151936, "tie_word_embeddings": False}, 30.53),
        ({"model_type": "mixtral", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
          "num_key_value_heads": 8, "intermediate_size": 14336, "num_local_experts": 8, "num_experts_per_tok": 2,
          "vocab_size": 32000}, 46.7),
    ],
)  # fmt: skip
def test_families(tmp_path: Path, config: dict, billions: float) -> None:
    """Against the sizes that their makers publish."""
    shape = read_shape(_model(tmp_path, config))
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert shape.vision == ("vision_config" in config)


def test_weights_count_exactly(tmp_path: Path) -> None:
    _model(tmp_path, {**QWEN, "tie_word_embeddings": False})
    _weights(
        tmp_path / "model.safetensors", {"model.embed.weight": ("F16", [100, 7]), "b": ("F32", [3]), "u": ("U8", [9])}
    )
    shape = read_shape(tmp_path)
    assert (shape.parameters, shape.dtype, shape.tied) == (703, "float16", True)


def test_missing_parts_fall_back_to_the_formula(tmp_path: Path) -> None:
    _model(tmp_path, QWEN)
    _weights(tmp_path / "model-00001-of-00002.safetensors", {"a": ("F16", [10])})
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_shape(tmp_path).parameters > 5e8


def test_quantised(tmp_path: Path) -> None:
    shape = read_shape(_model(tmp_path, {**QWEN, "quantization_config": {"quant_method": "gptq"}}))
    assert shape.quantised == "gptq"


def test_every_missing_figure_at_once(tmp_path: Path) -> None:
    with pytest.raises(ApplianceError) as caught:
        read_shape(_model(tmp_path, {"model_type": "x", "vocab_size": -5, "hidden_size": True}))
    text = "\n".join(caught.value.problems)
    assert all(name in text for name in ("num_hidden_layers", "num_attention_heads", "vocab_size", "hidden_size"))
    assert caught.value.why
    assert caught.value.next_step


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"', "[" * 100_000])
def test_not_a_config(tmp_path: Path, text: str) -> None:
    with pytest.raises(ApplianceError):
        read_shape(_model(tmp_path, text))


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(ApplianceError, match="usable model"):
        read_shape(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 13) + b'{"a": {"b":1}}',
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}      ' + b"\0" * 7,
    ],
)
def test_a_weights_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    _model(tmp_path, QWEN)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ApplianceError) as caught:
        read_shape(tmp_path)
    assert "model.safetensors" in caught.value.why


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
_KEYS = st.sampled_from(sorted(QWEN))
_JSON = st.recursive(_LEAVES, lambda s: st.lists(s, max_size=3) | st.dictionaries(_KEYS, s), max_leaves=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*QWEN, "text_config", "vision_config", "num_experts"]), _JSON, max_size=3)
)
def test_any_config_is_read_or_told(tmp_path: Path, changes: dict) -> None:
    try:
        shape = read_shape(_model(tmp_path, {**QWEN, **changes}))
    except ApplianceError:
        return
    assert shape.parameters > 0
