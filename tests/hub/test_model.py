"""What a folder is judged by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_files import model_files, safetensors, write

from appliance import settings
from appliance.errors import ApplianceError
from appliance.hub import manifest, workspace
from appliance.hub.model import inspect, inspect_adapter

SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", model_files())


def problems(folder: Path, **needs: bool) -> str:
    with pytest.raises(ApplianceError) as told:
        inspect(folder, **needs)
    assert told.value.what and told.value.why and told.value.next_step
    return "\n".join([told.value.why, *told.value.problems])


def test_a_good_model(folder: Path) -> None:
    model = inspect(folder, need_chat_template=True)
    assert (model.name, model.architecture, model.model_type) == ("tiny", "Qwen3ForCausalLM", "qwen3")
    assert model.weight_files == (SHARD, "model-00002-of-00002.safetensors")
    assert model.has_chat_template and model.complete and not model.vision and not model.quantised
    assert model.license == "apache-2.0" and model.size_bytes > 120_000


def test_quantised_and_vision(folder: Path) -> None:
    config = {"quantization_config": {"quant_method": "gptq"}, "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    assert (inspect(folder).quantised, inspect(folder).vision) == ("gptq", True)


def test_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", Path(__file__)):
        with pytest.raises(ApplianceError, match="no model folder"):
            inspect(path)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    told = problems(write(tmp_path / "empty", {"notes.txt": b""}), need_chat_template=True)
    assert all(word in told for word in ("config.json", "no weights", "no tokenizer", "no chat template"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_bad_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert "config.json" in problems(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "x.pt", "x.pth", "x.ckpt"])
def test_only_pickle(folder: Path, name: str) -> None:
    for path in folder.glob("*model*"):
        if path.suffix != ".json" or "index" in path.name:
            path.unlink()
    (folder / name).write_bytes(b"x")
    assert "pickle" in problems(folder) and name in problems(folder)


def test_missing_shard(folder: Path) -> None:
    (folder / SHARD).unlink()
    assert f"1 of 2 weight files are missing: {SHARD}" in problems(folder)


def test_hostile_shard_name(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    assert "no file name" in problems(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1",
        safetensors({"a": 30_000})[:20],
        safetensors({"a": 30_000})[:-1],
        safetensors({"a": 30_000}) + b"more",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        safetensors({"a": 4}).replace(b"[4]", b"[5]"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ],
)
def test_broken_weights(folder: Path, content: bytes) -> None:
    (folder / SHARD).write_bytes(content)
    assert SHARD in problems(folder)


def test_tokenizer_and_template(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b'{"version": ')
    (folder / "tokenizer_config.json").write_bytes(b"{}")
    assert "tokenizer.json is cut off" in problems(folder)
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in problems(folder)
    inspect(folder, need_tokenizer=False)
    assert "no chat template" in problems(folder, need_tokenizer=False, need_chat_template=True)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    inspect(folder, need_tokenizer=False, need_chat_template=True)


def test_adapter(tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 16, "base_model_name_or_path": "owner/tiny"}
    files = {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": safetensors({"x.A": 4})}
    adapter = inspect_adapter(write(tmp_path / "adapter", files))
    assert (adapter.base, adapter.peft_type, adapter.rank, adapter.keys) == ("owner/tiny", "LORA", 16, ("x.A",))
    write(tmp_path / "bad", {"adapter_config.json": b"no", "adapter_model.bin": b"x"})
    with pytest.raises(ApplianceError) as told:
        inspect_adapter(tmp_path / "bad")
    assert "adapter_config.json" in told.value.why and "pickle" in told.value.problems[0]


def test_workspace_shows_only_what_is_whole(folder: Path) -> None:
    models = settings.models_folder()
    whole = write(models / "whole", model_files())
    manifest.write(whole, source="merge", reference="x", revision=None)
    write(models / "half", model_files())
    cut = write(models / ".owner--cut.partial", model_files())
    manifest.write(cut, source="huggingface", reference="owner/cut", revision=None)  # killed just before the rename
    assert [(model.name, model.complete) for model in workspace.list_models()] == [("whole", True)]
    assert {one.name for one in workspace.unfinished()} == {"half", "owner--cut"}
    (whole / SHARD).write_bytes(b"tampered")
    assert [model.complete for model in workspace.list_models()] == [False]
    assert workspace.resolve("whole") == whole and workspace.resolve(str(folder)) == folder
    assert workspace.resolve("half") is None and workspace.resolve("owner/name") is None
    for odd in ("", ".", "..", ".owner--cut.partial", "a\0b", "whole/../whole/x"):
        assert workspace.resolve(odd) in (None, Path(odd).absolute()), odd


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen--Qwen3-0.6B"),
        ("/media/usb/模型 v1.tar.gz", "模型-v1"),
        ("./My Model/", "My-Model"),
        ("/tmp/../..", "model"),
        ("C:\\models\\a b.zip", "a-b"),
        ("字" * 300, "字" * 66),
    ],
)
def test_folder_names(reference: str, name: str) -> None:
    assert workspace.folder_name(reference) == name
