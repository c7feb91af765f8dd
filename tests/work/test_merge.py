"""Merging by real workers: what comes out, what is refused, and that nothing is ever half there."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_merge_kinds import steps_apart, tensors
from tiny import PRECISIONS
from workers import done, ended, gone

from appliance import files
from appliance.errors import ApplianceError
from appliance.hub import export_plan, manifest, push
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, events
from appliance.merging import base as bases
from appliance.merging import weights, whole_model


def draft(shelf: Path, base: str, adapter: str, to: str = "out", proof: bool = False, **more: Any) -> control.Draft:
    made = prepare.merge(str(shelf / "adapters" / adapter), base=str(shelf / base), to=to, **more)
    made.spec["proof"] = proof
    return made


def submit(shelf: Path, base: str, adapter: str, **more: Any) -> Job:
    return control.submit(draft(shelf, base, adapter, **more))


def refused(made: control.Draft) -> dict[str, Any]:
    """What the worker says; nothing is left behind."""
    error = ended(control.submit(made)).error
    assert error and error["what"] and error["why"] and error["next"]
    assert list(Path(made.spec["to"]).parent.glob("*")) == []
    return error


def notes(job: Job) -> str:
    return "\n".join(event["text"] for event in events(job)[0] if event["kind"] in ("note", "warning"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_merged_model_is_peft_s_and_whole(home: Path, shelf: Path, tmp_path: Path, precision: str) -> None:
    base = shelf / f"base-{precision}"
    result = done(submit(shelf, base.name, "plain"))
    model = Path(result["model"])
    assert result["way"] == "streamed" and result["changed_tensors"] == 14 and model == home / "models" / "out"
    assert steps_apart(model, shelf / "merged" / f"{precision}-plain").max() == 0
    assert {path.name for path in base.glob("*.safetensors")} == {path.name for path in model.glob("*.safetensors")}
    written = manifest.read(model)
    assert written and manifest.differences(model, written) == []
    for name, entry in written["files"].items():
        assert entry["sha256"] == files.sha256(model / name)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (model / name).read_bytes() == (base / name).read_bytes()
    assert not (model / "adapter_config.json").exists() and not list(model.glob(".*"))
    assert prepare.model_folder("out") == model
    assert export_plan.look(model, tmp_path / "out.tar").total > files.folder_size(base)
    assert {item.name for item in push.look(model)} >= {"config.json", *(p.name for p in base.glob("*.safetensors"))}
    assert prepare.adapters() == []  # what it made is no second adapter


@pytest.mark.parametrize("adapter", ["dora", "saved", "patterns"])
def test_more_than_plain_lora_is_streamed_too(home: Path, shelf: Path, adapter: str) -> None:
    result = done(submit(shelf, "base-bfloat16", adapter))
    assert result["way"] == "streamed"
    theirs = shelf / "merged" / f"bfloat16-{adapter}"
    assert steps_apart(Path(result["model"]), theirs).max() == 0
    config = files.read_json(Path(result["model"]) / "config.json")
    assert config["tie_word_embeddings"] == files.read_json(theirs / "config.json")["tie_word_embeddings"]


def with_tokenizer(case: Path, shelf: Path, to: Path) -> Path:
    """A case's base as a model that a person may have."""
    base = shutil.copytree(case / "base", to)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shelf / "base-float32" / name, base / name)
    return base


@pytest.mark.parametrize(
    "case",
    [
        "llama-tokens-bfloat16-1",
        *(
            pytest.param(case, marks=pytest.mark.long)
            for case in ("llama-loha-bfloat16-1", "llama-pissaraw-bfloat16-1", "gpt2-dora-float32-1")
        ),
    ],
)
def test_the_rest_goes_through_peft_and_says_so(
    home: Path, shelf: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    base = with_tokenizer(cases / case, shelf, tmp_path / "base")
    monkeypatch.setattr(whole_model, "_LIBRARIES_BYTES", 2**50)
    with pytest.raises(ApplianceError, match="memory is not enough"):
        prepare.merge(str(cases / case / "adapter"), base=str(base), to="out")
    monkeypatch.setattr(whole_model, "_LIBRARIES_BYTES", 2**30)
    made = prepare.merge(str(cases / case / "adapter"), base=str(base), to="out")
    assert "peft merges it, with the whole model in memory" in str(made.facts)
    made.spec["proof"] = False
    job = control.submit(made)
    result = done(job)
    assert result["way"] == "peft" and result["reason"] and result["reason"] in notes(job)
    assert steps_apart(Path(result["model"]), cases / case / "merged").max() == 0


def test_a_tensor_without_a_place_is_never_left_out(home: Path, shelf: Path, cases: Path, tmp_path: Path) -> None:
    case = cases / "llama-lora-bfloat16-1"
    base = with_tokenizer(case, shelf, tmp_path / "base")
    adapter = shutil.copytree(case / "adapter", tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    shard = weights.read(path)
    extra = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    header = weights.with_more(shard, [(extra, "F32", (4, 32), 512)])
    path.write_bytes(header + path.read_bytes()[len(shard.header) :] + bytes(512))
    made = prepare.merge(str(adapter), base=str(base), to="out")
    assert "has its place" in refused(made)["what"]


def test_several_adapters_with_weights(home: Path, shelf: Path) -> None:
    """Once and a half the same adapter is once and a half its change."""
    plain = str(shelf / "adapters" / "plain")
    result = done(submit(shelf, "base-float32", "plain", more=[plain], weights=[1.0, 0.5]))
    before, after = tensors(shelf / "base-float32"), tensors(Path(result["model"]))
    once = tensors(shelf / "merged" / "float32-plain")
    for name, (_dtype, _shape, raw) in after.items():
        was, single, double = (np.frombuffer(one, np.float32) for one in (before[name][2], once[name][2], raw))
        assert np.allclose(double - was, 1.5 * (single - was), atol=1e-6)
    with pytest.raises(ApplianceError, match="2 adapters and 3 weights"):
        draft(shelf, "base-float32", "plain", more=[plain], weights=[1.0, 2.0, 3.0])
    with pytest.raises(ApplianceError, match="weights can't be merged"):
        draft(shelf, "base-float32", "dora", to="other", more=[plain])


def test_the_merged_model_answers_as_base_and_adapter_do(home: Path, shelf: Path) -> None:
    job = submit(shelf, "base-float32", "dora", proof=True)
    proof = done(job)["proof"]
    assert proof["done"] and proof["dtype"] == "float32" and proof["prompts"] == 8 and proof["places"] > 20
    assert proof["same"] >= 0.99
    assert proof["sentence"] in notes(job)


def test_what_answers_otherwise_when_merged_is_said_before(
    home: Path, shelf: Path, cases: Path, tmp_path: Path
) -> None:
    def warnings(kind: str, number: int) -> list[str]:
        case = cases / f"llama-{kind}-bfloat16-{number}"
        base = with_tokenizer(case, shelf, tmp_path / kind)
        return prepare.merge(str(case / "adapter"), base=str(base)).warnings

    for kind, number in (("embedtied", 4), ("headtied", 4), ("bothtied", 1)):
        assert any("one matrix" in warning for warning in warnings(kind, number)), kind
    for kind, number in (("embed", 1), ("head", 1), ("tiedtogether", 4), ("savedhead", 4)):
        assert warnings(kind, number) == [], kind
    adapter = shutil.copytree(shelf / "adapters" / "plain", tmp_path / "prompt")
    described = files.read_json(adapter / "adapter_config.json")
    files.write_json(adapter / "adapter_config.json", {**described, "peft_type": "PROMPT_TUNING"})
    with pytest.raises(ApplianceError, match="can't be merged") as told:
        prepare.merge(str(adapter), base=str(shelf / "base-float32"))
    assert "PROMPT_TUNING" in told.value.why


def test_without_the_training_environment_it_merges_and_says_what_was_not_done(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = draft(shelf, "base-float32", "plain", proof=True)
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path / "none"))
    job = control.submit(made)
    proof = done(job)["proof"]
    assert proof["done"] is False and "not installed" in proof["why"] and proof["why"] in notes(job)


def test_an_existing_target_is_refused(home: Path, shelf: Path) -> None:
    mine = home / "models" / "out"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(ApplianceError, match="there already"):
        submit(shelf, "base-bfloat16", "plain")
    shutil.rmtree(mine)
    mine.symlink_to(home / "a-disk-that-is-away")
    with pytest.raises(ApplianceError, match="there already"):
        submit(shelf, "base-bfloat16", "plain")
    mine.unlink()
    made = draft(shelf, "base-bfloat16", "plain")
    mine.mkdir()  # between the question and the job
    (mine / "notes.txt").write_text("mine")
    assert "there already" in ended(control.submit(made)).error["what"]
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    assert [path.name for path in mine.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_a_quantised_base_is_refused(home: Path, shelf: Path, tmp_path: Path, method: str) -> None:
    base = shutil.copytree(shelf / "base-bfloat16", tmp_path / "quantised")
    config = files.read_json(base / "config.json")
    made = draft(base.parent, base.name, str(shelf / "adapters" / "plain"))
    files.write_json(base / "config.json", {**config, "quantization_config": {"quant_method": method}})
    with pytest.raises(ApplianceError, match="quantised"):
        draft(base.parent, base.name, str(shelf / "adapters" / "plain"))
    for words, instead in (
        ({"base_model_name_or_path": "Qwen/Qwen3-8B"}, "Download Qwen/Qwen3-8B and"),
        ({"base_model_name_or_path": f"me/Qwen3-8B-{method}"}, "Download some/original and"),  # from the base's card
    ):
        adapter = shutil.copytree(shelf / "adapters" / "plain", tmp_path / "adapter", dirs_exist_ok=True)
        described = files.read_json(adapter / "adapter_config.json")
        files.write_json(adapter / "adapter_config.json", {**described, **words})
        (base / "README.md").write_text("---\nlicense: mit\nbase_model:\n- some/original\n---\nhi")
        with pytest.raises(ApplianceError, match="quantised") as told:
            prepare.merge(str(adapter), base=str(base))
        assert instead in told.value.next_step
    if method == "gptq":
        error = refused(made)
        assert f"quantised ({method})" in error["what"] and "base-float32" in error["next"]


def test_a_base_of_another_shape_is_refused(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = shutil.copytree(shelf / "base-bfloat16", tmp_path / "other")
    path = base / "model.safetensors"
    shard = weights.read(path)
    header = json.loads(shard.header[8:])
    name = next(name for name in header if "q_proj" in name)
    rows, columns = header[name]["shape"]
    header[name]["shape"] = [rows * 2, columns // 2]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + path.read_bytes()[len(shard.header) :])
    with pytest.raises(ApplianceError, match="does not fit") as told:
        draft(tmp_path, "other", str(shelf / "adapters" / "plain"))
    assert name in told.value.why and "--base" in told.value.next_step


def _download(shelf: Path, to: Path, revision: str = "r1") -> Path:
    base = shutil.copytree(shelf / "base-float16", to)
    manifest.write(base, source="huggingface", reference="some/model", revision=revision)
    return base


def test_a_damaged_base_is_refused_before_anything_is_written(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = _download(shelf, tmp_path / "base")
    made = draft(tmp_path, "base", str(shelf / "adapters" / "plain"))
    shards = sorted(base.glob("*.safetensors"))
    with shards[1].open("r+b") as file:
        file.seek(-5, 2)
        byte = file.read(1)
        file.seek(-5, 2)
        file.write(bytes([byte[0] ^ 1]))
    error = refused(made)
    assert "damaged" in error["what"] and shards[1].name in error["why"] and shards[0].name not in error["why"]
    shards[0].write_bytes(shards[0].read_bytes()[:200])  # a cut header
    assert shards[0].name in json.dumps(refused(made))


def test_a_damaged_adapter_is_refused_before_anything_is_written(home: Path, shelf: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(shelf / "adapters" / "plain", tmp_path / "adapter")
    weights_file = adapter / "adapter_model.safetensors"
    noted = {weights_file.name: {"sha256": files.sha256(weights_file)}}
    files.write_json(adapter / "appliance-adapter.json", {"base": {}, "result": {"files": noted}})
    bases.verify_adapter(adapter)
    raw = bytearray(weights_file.read_bytes())
    raw[-5] ^= 1
    weights_file.write_bytes(raw)
    made = prepare.merge(str(adapter), base=str(shelf / "base-bfloat16"), to="out")
    assert "damaged" in refused(made)["what"]
    weights_file.write_bytes(raw[:200])  # a cut header
    with pytest.raises(ApplianceError, match="can't be used") as told:
        prepare.merge(str(adapter), base=str(shelf / "base-bfloat16"))
    assert weights_file.name in told.value.why


def test_only_files_that_someone_wrote_to_are_read_again(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _download(shelf, tmp_path / "fresh")
    names = sorted(path.name for path in base.glob("*.safetensors"))
    assert sorted(bases.unverified(base, names)) == names  # so fresh that a change might not show
    monkeypatch.setattr(manifest, "_FRESH_NS", 0)
    manifest.write(base, source="huggingface", reference="some/model", revision="r1")
    assert bases.unverified(base, names) == {}
    path = base / names[1]
    status = path.stat()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(bases.unverified(base, names)) == [names[1]]


def test_other_weights_than_those_it_was_trained_on_are_refused(home: Path, shelf: Path, tmp_path: Path) -> None:
    base = _download(shelf, tmp_path / "base")
    adapter = shutil.copytree(shelf / "adapters" / "plain", tmp_path / "adapter")
    listed = manifest.read(base)
    assert listed
    theirs = {name: entry["sha256"] for name, entry in listed["files"].items() if name.endswith(".safetensors")}
    described = {"reference": "some/model", "revision": "r0", "weights": theirs}
    files.write_json(adapter / "appliance-adapter.json", {"base": described})
    made = prepare.merge(str(adapter), base=str(base), to="out")
    made.spec["proof"] = False
    done(control.submit(made))  # another revision with the same weights
    shutil.rmtree(home / "models" / "out")
    files.write_json(adapter / "appliance-adapter.json", {"base": {**described, "weights": {}}})
    error = refused(made)
    assert "other weights" in error["what"] and "r0" in error["why"] and "--revision r0" in error["next"]
    theirs[next(iter(theirs))] = "0" * 64
    files.write_json(adapter / "appliance-adapter.json", {"base": {**described, "revision": "r1"}})
    assert "other weights" in refused(made)["what"]


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
    assert again["way"] == "streamed" and again["files"] == first["files"] and again["proof"] == first["proof"]


def test_two_merges_to_one_name_at_once(home: Path, shelf: Path) -> None:
    """One wins, the other says so; nothing is mixed."""
    made = draft(shelf, "base-bfloat16", "plain")
    jobs = [control.submit(made) for _number in range(2)]
    states = [ended(job) for job in jobs]
    assert sorted(state.state for state in states) == ["done", "failed"]
    lost = next(state for state in states if state.state == "failed")
    assert lost.error and "is there already" in lost.error["what"]
    to = Path(jobs[0].spec["spec"]["to"])
    assert not [path for path in to.parent.iterdir() if path.name.startswith(".")]
    assert not manifest.differences(to, manifest.read(to) or {})
