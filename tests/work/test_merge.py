"""Merging by real workers, against what peft merges."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny import PRECISIONS
from workers import done, ended, gone, kill, until

from appliance import files
from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.jobs import control, prepare
from appliance.work import merge

WORD = {"F32": np.int32, "F16": np.int16, "BF16": np.int16}


def weights(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Every tensor of a model: (dtype, shape, bytes)."""
    found = {}
    for path in folder.glob("*.safetensors"):
        tensors, header = merge.read_header(path)
        raw = path.read_bytes()[len(header) :]
        for name, facts in tensors.items():
            start, end = facts["data_offsets"]
            found[name] = (facts["dtype"], facts["shape"], raw[start:end])
    return found


def ulps(dtype: str, one: bytes, other: bytes) -> np.ndarray:
    """How many representable numbers lie between the values of two tensors."""

    def ordered(raw: bytes) -> np.ndarray:
        bits = np.frombuffer(raw, WORD[dtype]).astype(np.int64)
        return np.where(bits < 0, np.iinfo(WORD[dtype]).min - bits, bits)

    return np.abs(ordered(one) - ordered(other))


def submit(shelf: Path, base: str, adapter: str, to: str = "out"):
    return control.submit(prepare.merge(str(shelf / "adapters" / adapter), base=str(shelf / base), to=to))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_streamed_it_is_what_peft_makes(home: Path, shelf: Path, precision: str) -> None:
    base = shelf / f"base-{precision}"
    result = done(submit(shelf, base.name, "plain"))
    assert result["way"] == "streamed"
    ours, theirs = weights(Path(result["model"])), weights(shelf / "merged" / f"{precision}-plain")
    assert len(list(base.glob("*.safetensors"))) == len(list(Path(result["model"]).glob("*.safetensors")))
    assert (precision == "float16") == (len(list(base.glob("*.safetensors"))) > 1)
    assert ours.keys() == theirs.keys()
    steps = []
    for name, (dtype, shape, raw) in ours.items():
        assert (dtype, shape) == theirs[name][:2]
        steps.append(ulps(dtype, raw, theirs[name][2]))
    everything = np.concatenate(steps)
    if precision == "float32":  # two ways of summing r products differ in the last bits of a small sum
        values = [merge.to_float32(raw, "F32") for _d, _s, raw in ours.values()]
        others = [merge.to_float32(theirs[name][2], "F32") for name in ours]
        assert all(np.allclose(a, b, rtol=0, atol=3e-8) for a, b in zip(values, others, strict=True))
    else:
        assert everything.max() <= 1
        assert (everything == 0).mean() >= 0.9999
    assert any((ulps(d, raw, weights(base)[name][2]) > 0).any() for name, (d, _s, raw) in ours.items())


@pytest.mark.parametrize("adapter", ["dora", "saved", "patterns"])
def test_other_adapters_go_through_peft(home: Path, shelf: Path, adapter: str) -> None:
    job = submit(shelf, "base-bfloat16", adapter)
    result = done(job)
    assert result["way"] == "peft" and result["attempts"] == 1
    ours, theirs = weights(Path(result["model"])), weights(shelf / "merged" / f"bfloat16-{adapter}")
    assert ours == theirs
    for name in ("tie_word_embeddings", "dtype"):
        config = files.read_json(Path(result["model"]) / "config.json")
        assert config[name] == files.read_json(shelf / "merged" / f"bfloat16-{adapter}" / "config.json")[name]


def test_a_merged_model_is_whole_and_names_what_it_came_from(home: Path, shelf: Path) -> None:
    base = shelf / "base-bfloat16"
    result = done(submit(shelf, base.name, "plain"))
    model = Path(result["model"])
    assert model == home / "models" / "out"
    written = manifest.read(model)
    assert written and manifest.differences(model, written) == []
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (model / name).read_bytes() == (base / name).read_bytes()
    assert not (model / "adapter_config.json").exists()
    assert prepare.model_folder("out") == model


def test_an_existing_target_is_refused(home: Path, shelf: Path) -> None:
    mine = home / "models" / "out"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(ApplianceError, match="there already"):
        submit(shelf, "base-bfloat16", "plain")
    shutil.rmtree(mine)
    draft = prepare.merge(str(shelf / "adapters" / "plain"), base=str(shelf / "base-bfloat16"), to="out")
    mine.mkdir()  # between the question and the job
    (mine / "notes.txt").write_text("mine")
    assert "there already" in ended(control.submit(draft)).error["what"]
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    assert [path.name for path in mine.parent.iterdir()] == ["out"]


def test_a_quantised_base_is_refused(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = shutil.copytree(shelf / "base-bfloat16", tmp_path / "quantised")
    config = files.read_json(base / "config.json")
    draft = prepare.merge(str(shelf / "adapters" / "plain"), base=str(base), to="out")
    files.write_json(base / "config.json", {**config, "quantization_config": {"quant_method": "gptq"}})
    with pytest.raises(ApplianceError, match="quantised"):
        prepare.merge(str(shelf / "adapters" / "plain"), base=str(base), to="out")
    assert "quantised" in ended(control.submit(draft)).error["what"]
    assert not (home / "models" / "out").exists()


def test_a_base_of_another_shape_is_refused(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = shutil.copytree(shelf / "base-bfloat16", tmp_path / "other")
    path = base / "model.safetensors"
    tensors, header = merge.read_header(path)
    name = next(name for name in tensors if "q_proj" in name)
    rows, columns = tensors[name]["shape"]
    tensors[name]["shape"] = [rows * 2, columns // 2]
    text = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + path.read_bytes()[len(header) :])
    error = ended(control.submit(prepare.merge(str(shelf / "adapters" / "plain"), base=str(base), to="out"))).error
    assert error and "does not fit" in error["what"] and name in error["why"]
    assert list((home / "models").iterdir()) == []


def test_killed_it_leaves_no_model_and_resumed_it_makes_one(home: Path, shelf: Path, tmp_path: Path) -> None:
    """A base large enough that the worker is seen in the middle of it."""
    base = shutil.copytree(shelf / "base-float32", tmp_path / "large")
    size = 600 * 2**20
    header = json.dumps({"ballast": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (base / "a-ballast.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    job = control.submit(prepare.merge(str(shelf / "adapters" / "plain"), base=str(base), to="out"))
    until(job, lambda events: any(event.get("phase") == "merging" for event in events))
    kill(job)
    target = home / "models" / "out"
    assert not target.exists() and prepare.workspace.list_models() == []
    control.resume(job)
    assert done(job)["attempts"] == 2
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    ours, theirs = weights(target), weights(shelf / "merged" / "float32-plain")
    for name, (_dtype, _shape, raw) in theirs.items():
        assert np.allclose(merge.to_float32(ours[name][2], "F32"), merge.to_float32(raw, "F32"), rtol=0, atol=3e-8)


def test_killed_after_the_rename_it_is_not_merged_twice(home: Path, shelf: Path) -> None:
    job = submit(shelf, "base-bfloat16", "plain")
    first = done(job)
    (job.folder / "result.json").unlink()
    state = job.written_state()
    gone(state.pid)
    state.state = "running"  # as a kill between the rename and the result leaves it
    job.write_state(state)
    control.resume(job)
    again = done(job)
    assert again["way"] == "kept" and again["files"] == first["files"]


quick = hypothesis_settings(max_examples=200, deadline=None, database=None)


@quick
@given(hnp.arrays(np.uint16, st.integers(0, 64), elements=st.integers(0, 0xFFFF)))
def test_sixteen_bits_there_and_back(bits: np.ndarray) -> None:
    """Every 16-bit number comes back as itself; NaN as some NaN."""
    for dtype, quiet in (("BF16", 0x7F80), ("F16", 0x7C00)):
        back = np.frombuffer(merge.from_float32(merge.to_float32(bits.tobytes(), dtype), dtype), np.uint16)
        nan = (bits & 0x7FFF) > quiet
        assert (back[~nan] == bits[~nan]).all()
        assert ((back[nan] & 0x7FFF) > quiet).all()


@quick
@given(
    hnp.arrays(np.uint32, st.integers(1, 32), elements=st.integers(0, 0xFFFF)),
    st.sampled_from([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]),
)
def test_bfloat16_is_the_nearest(upper: np.ndarray, lower: int) -> None:
    """No neighbour is nearer; of two that are equally near, the even one."""
    values = ((upper << 16) | lower).astype(np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    bits = np.frombuffer(merge.from_float32(values, "BF16"), np.uint16).astype(np.int64)
    inside = (bits & 0x7FFF) < 0x7F7F
    values, bits = values[inside].astype(np.float64), bits[inside]

    def number(pattern: np.ndarray) -> np.ndarray:
        return (pattern.astype(np.uint32) << 16).view(np.float32).astype(np.float64)

    off = np.abs(values - number(bits))
    for neighbour in (bits + 1, np.where((bits & 0x7FFF) == 0, bits, bits - 1)):
        other = np.abs(values - number(neighbour))
        assert (off <= other).all()
        tie = (off == other) & (neighbour != bits) & (off > 0)
        assert (bits[tie] % 2 == 0).all()


def test_two_merges_to_one_name_at_once(home: Path, shelf: Path) -> None:
    """One wins, the other says so; nothing is mixed."""
    draft = prepare.merge(str(shelf / "adapters" / "plain"), base=str(shelf / "base-bfloat16"), to="out")
    jobs = [control.submit(draft) for _number in range(2)]
    states = [ended(job) for job in jobs]
    assert sorted(state.state for state in states) == ["done", "failed"]
    lost = next(state for state in states if state.state == "failed")
    assert lost.error and "is there already" in lost.error["what"]
    to = Path(jobs[0].spec["spec"]["to"])
    assert not [path for path in to.parent.iterdir() if path.name.startswith(".")]
    assert not manifest.differences(to, manifest.read(to) or {})


def test_a_merge_is_no_second_adapter(home: Path, shelf: Path, tmp_path: Path) -> None:
    """What it made is a model; the list of adapters holds what fine-tunes made."""
    job = submit(shelf, "base-bfloat16", "plain")
    assert done(job)["adapter"]
    assert prepare.adapters() == []
