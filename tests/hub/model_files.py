"""A tiny model as plain bytes, and a safetensors file written by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path


def safetensors(tensors: dict[str, int], fill: bytes = b"\1") -> bytes:
    """`tensors`: name to the count of its float32 values."""
    header, data = {}, b""
    for name, count in tensors.items():
        header[name] = {"dtype": "F32", "shape": [count], "data_offsets": [len(data), len(data) + 4 * count]}
        data += fill * (4 * count)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return len(text).to_bytes(8, "little") + text + data


def model_files() -> dict[str, bytes]:
    """Two shards, a tokenizer, a chat template; and things that must not be taken along."""
    shards = {"model-00001-of-00002.safetensors": {"a": 30_000}, "model-00002-of-00002.safetensors": {"b": 500}}
    index = {"weight_map": {name: shard for shard, tensors in shards.items() for name in tensors}}
    return {
        "config.json": json.dumps({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{shard: safetensors(tensors) for shard, tensors in shards.items()},
        "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
        "LICENSE": b"text\n",
        "pytorch_model.bin": b"pickle",
        "modeling_evil.py": b"raise SystemExit\n",
        "original/consolidated.safetensors": safetensors({"c": 3}),
    }


TAKEN = sorted(
    name for name in model_files() if name not in ("pytorch_model.bin", "modeling_evil.py") and "/" not in name
)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def large_files(sizes: tuple[int, ...] = (2_500_000, 900_000), seed: int = 7) -> dict[str, bytes]:
    """The same with shards of random bytes, so that no part of a file can stand for another."""
    noise = random.Random(seed)
    names = [f"model-{number:05}-of-{len(sizes):05}.safetensors" for number in range(1, len(sizes) + 1)]
    files = {name: content for name, content in model_files().items() if name in TAKEN and not name.endswith("tensors")}
    files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": {f"t{number}": name for number, name in enumerate(names)}}
    ).encode()
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        header = {f"t{number}": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
        text = json.dumps(header).encode()
        files[name] = len(text).to_bytes(8, "little") + text + noise.randbytes(size)
    return files
