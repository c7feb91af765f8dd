"""The streamed merge of every kind of adapter against `peft.merge_and_unload`, number by number, on real architectures.

At least 99.9999 % of the numbers must be the same, the others one rounding step apart.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import struct
from pathlib import Path
from typing import Any

import merge_shelf
import numpy as np
import pytest
from merge_shelf import BY_PEFT, MIXTURE, STREAMED, VISION

from appliance import files
from appliance.errors import ApplianceError
from appliance.hub import model as models
from appliance.merging import plan, stream, weights
from appliance.merging.adapter import NotStreamed

_EVERYWHERE = ("lora", "rslora", "dora", "several", "savedhead", "embed", "headtied", "pissa", "patterns")
PRODUCT = [
    "-".join(words)
    for words in [
        *itertools.product(("llama", "qwen3", "gemma", "glm"), _EVERYWHERE, ("float32", "bfloat16", "float16"), "14"),
        *itertools.product(("qwen3moe", "mixtral"), MIXTURE, ("float32", "bfloat16", "float16"), "14"),
        *itertools.product(("gemma3vl", "qwen25vl"), VISION, ("float32", "bfloat16", "float16"), "14"),
    ]
]
WORD: dict[str, Any] = {"F32": np.int32, "F16": np.int16, "BF16": np.int16}


def tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every tensor of a model: (dtype, shape, bytes)."""
    found = {}
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        for tensor in weights.read(path).tensors:
            found[tensor.name] = (tensor.dtype, tensor.shape, raw[tensor.start : tensor.end])
    return found


def steps_apart(ours: Path, theirs: Path) -> np.ndarray:
    """For every number of two models, how many representable ones lie between; names, shapes and dtypes are equal."""
    one, other = tensors(ours), tensors(theirs)
    assert one.keys() == other.keys()

    def ordered(dtype: str, raw: bytes) -> np.ndarray:
        bits = np.frombuffer(raw, WORD[dtype]).astype(np.int64)
        return np.where(bits < 0, np.iinfo(WORD[dtype]).min - bits, bits)

    found = []
    for name, (dtype, shape, raw) in one.items():
        assert (dtype, shape) == other[name][:2], name
        found.append(np.abs(ordered(dtype, raw) - ordered(dtype, other[name][2])))
    return np.concatenate(found)


def planned(case: Path) -> plan.Plan:
    base = case / "base"
    given = files.read_json(case / "case.json")["weights"]
    adapters = [(case / ("adapter" if number == 0 else f"adapter{number + 1}"), w) for number, w in enumerate(given)]
    names = list(models.inspect(base, need_tokenizer=False).weight_files)
    return plan.make(base, names, adapters, files.read_json(base / "config.json"))


def check(case: Path) -> None:
    made, target = planned(case), case / "ours"
    target.mkdir()
    told: dict[str, str] = {}
    stream.write(
        made.outputs,
        target,
        finished=lambda name, _size, digest: told.__setitem__(name, digest),
        moved=lambda _count: None,
        check_stopped=lambda: None,
    )
    assert sorted(path.name for path in target.iterdir()) == sorted(told)
    assert all(files.sha256(target / name) == digest for name, digest in told.items())
    assert len(told) == len(list((case / "base").glob("*.safetensors")))
    apart = steps_apart(target, case / "merged")
    assert apart.max() <= 1 and (apart == 0).mean() >= 0.999999, ((apart == 0).mean(), apart.max())
    before = tensors(case / "base")
    assert any(before.get(name, ("", (), b""))[2] != raw for name, (_d, _s, raw) in tensors(target).items())
    if "config.json" in made.texts:  # a head of its own
        (target / "config.json").write_text(made.texts["config.json"])
        for name in ("tie_word_embeddings",):
            assert files.read_json(target / "config.json")[name] is False
            assert files.read_json(case / "merged" / "config.json").get(name, False) is False
    index = "model.safetensors.index.json"
    if index in made.texts:
        (target / index).write_text(made.texts[index])
        assert set(files.read_json(target / index)["weight_map"]) == set(tensors(target))


@pytest.mark.parametrize("case", STREAMED)
def test_streamed_it_is_what_peft_makes(cases: Path, case: str) -> None:
    assert case.endswith("1") == (len(list((cases / case / "base").glob("*.safetensors"))) == 1)
    check(cases / case)


@pytest.mark.parametrize("case", BY_PEFT)
def test_what_is_not_streamed_is_said(cases: Path, case: str) -> None:
    with pytest.raises(NotStreamed):
        planned(cases / case)


def put(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Zeros of other shapes in the place of the first tensors whose names end so."""
    shard = weights.read(path)
    facts, data = json.loads(shard.header[8:]), path.read_bytes()[len(shard.header) :]
    for part, shape in shapes.items():
        name = next(tensor.name for tensor in shard.tensors if tensor.name.endswith(part))
        size = 4 * math.prod(shape)
        facts[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    header = json.dumps(facts).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.mark.parametrize(
    ("case", "part", "shape"),
    [
        ("llama-lora-bfloat16-1", "q_proj.lora_B.weight", (32, 6)),  # the other half has rank 4
        ("llama-dora-bfloat16-1", "q_proj.lora_magnitude_vector", (31,)),
        ("llama-lorabias-bfloat16-1", "q_proj.lora_B.bias", (31,)),
        ("llama-embed-bfloat16-1", "embed_tokens.lora_embedding_B", (32, 6)),
        ("qwen3moe-expertsdown-bfloat16-1", "mlp.experts.lora_B.weight", (32, 12)),
    ],
)
def test_halves_that_do_not_fit_each_other_are_never_multiplied(
    cases: Path, tmp_path: Path, case: str, part: str, shape: tuple[int, ...]
) -> None:
    copy = shutil.copytree(cases / case, tmp_path / "case")
    put(copy / "adapter" / "adapter_model.safetensors", {part: shape})
    with pytest.raises((NotStreamed, ApplianceError)):
        planned(copy)


def test_a_rank_of_nothing_is_not_divided_by(cases: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cases / "llama-lora-bfloat16-1", tmp_path / "case")
    described = files.read_json(copy / "adapter" / "adapter_config.json")
    files.write_json(copy / "adapter" / "adapter_config.json", {**described, "rank_pattern": {"layers.0.*q_proj": 0}})
    put(
        copy / "adapter" / "adapter_model.safetensors",
        {"0.self_attn.q_proj.lora_A.weight": (0, 32), "0.self_attn.q_proj.lora_B.weight": (32, 0)},
    )
    with pytest.raises(NotStreamed, match="rank 0"):
        planned(copy)


def test_only_numbers_that_it_can_add_to_are_replaced(cases: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cases / "llama-savedboth-bfloat16-1", tmp_path / "case")
    path = copy / "base" / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"lm_head.weight":{"dtype":"BF16"', b'"lm_head.weight":{"dtype":"I16" '))
    assert path.read_bytes() != raw
    with pytest.raises(NotStreamed, match=r"lm_head\.weight: I16"):
        planned(copy)


@pytest.mark.long
@pytest.mark.parametrize("part", range(6))
def test_every_kind_on_every_architecture(tmp_path: Path, part: int) -> None:
    mine = PRODUCT[part::6]
    merge_shelf.make(tmp_path, mine)
    for case in mine:
        check(tmp_path / case)
