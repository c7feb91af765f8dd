"""Folders and archives on this machine, honest and hostile."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bringing import Bring
from model_files import TAKEN, model_files, safetensors, write

from appliance.errors import ApplianceError, Stopped
from appliance.hub import manifest

Change = Callable[[tarfile.TarInfo], None]


def tar(path: Path, files: dict[str, bytes], mode: str = "w", extra: Change | None = None) -> Path:
    """An archive of the files, then one member `bad.json` that `extra` changes."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if extra:
            member = tarfile.TarInfo("bad.json")
            extra(member)
            archive.addfile(member)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def inside(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in model_files().items()}


def nothing_made(workspace: Path) -> bool:
    models = workspace / "models"
    return not models.exists() or not list(models.iterdir())


def test_folder(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    source = write(tmp_path / "source", model_files())
    folder = bring(source, "tiny")
    written = manifest.read(folder)
    assert written is not None and written["source"] == "folder" and written["reference"] == str(source)
    assert sorted(written["files"]) == TAKEN
    assert bring.steps[-1][1] == bring.steps[-1][2] == sum(entry["size"] for entry in written["files"].values())
    bring(source, "tiny")
    assert "Already here" in bring.notes[-1]
    (source / "config.json").write_text("{}")
    with pytest.raises(ApplianceError, match="is taken"):
        bring(source, "tiny")


def test_folder_of_links_as_hugging_face_caches_it(tmp_path: Path, bring: Bring) -> None:
    blobs, snapshot = write(tmp_path / "blobs", model_files()), tmp_path / "snapshot"
    snapshot.mkdir()
    for path in (path for path in blobs.iterdir() if path.is_file()):
        (snapshot / path.name).symlink_to(path)
    folder = bring(snapshot, "tiny")
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_adapter_folder(tmp_path: Path, bring: Bring) -> None:
    config = json.dumps({"peft_type": "LORA", "r": 8, "base_model_name_or_path": "owner/tiny"}).encode()
    files = {"adapter_config.json": config, "adapter_model.safetensors": safetensors({"a": 1})}
    assert bring(write(tmp_path / "adapter", files), "adapter").is_dir()


@pytest.mark.parametrize("drop", ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"])
def test_bad_folder(drop: str, tmp_path: Path, bring: Bring, workspace: Path) -> None:
    files = {name: content for name, content in model_files().items() if name != drop}
    with pytest.raises(ApplianceError) as told:
        bring(write(tmp_path / "source", files))
    assert told.value.what and told.value.why and told.value.next_step and nothing_made(workspace)


def test_a_stop_leaves_nothing(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    def stop() -> None:
        if bring.steps:
            raise Stopped

    bring.check_stopped = stop
    with pytest.raises(Stopped):
        bring(write(tmp_path / "source", model_files()))
    assert nothing_made(workspace)


def test_into_itself(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    write(workspace, model_files())
    with pytest.raises(ApplianceError, match="into itself"):
        bring(workspace)


@pytest.mark.parametrize("reference", ["/no/where", "./none", "words alone", "file.txt", "a/b/c"])
def test_not_here(reference: str, bring: Bring, workspace: Path) -> None:
    with pytest.raises(ApplianceError, match="is not here"):
        bring(reference)
    assert nothing_made(workspace)


@pytest.mark.parametrize("top", ["", "some folder/", "./"])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tgz", "zip"])
def test_archives(kind: str, top: str, tmp_path: Path, bring: Bring) -> None:
    files = {top + name: content for name, content in model_files().items()}
    if kind == "zip":
        if top == "./":
            pytest.skip("zip programs do not write ./")
        archive = zipped(tmp_path / "model.zip", {**files, "__MACOSX/._config.json": b"x"})
    else:
        archive = tar(tmp_path / f"model.{kind}", files, "w" if kind == "tar" else "w:gz")
    folder = bring(archive, "tiny")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*TAKEN, manifest.NAME])
    assert all((folder / name).read_bytes() == model_files()[name] for name in TAKEN)


HOSTILE_NAMES = ["../evil.json", "/evil.json", "a/../../evil.json", "a\\..\\evil.json", "C:/evil.json", "bell\7.json"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_hostile_names(kind: str, name: str, tmp_path: Path, bring: Bring, workspace: Path) -> None:
    files = {**model_files(), name: b"evil"}
    archive = zipped(tmp_path / "m.zip", files) if kind == "zip" else tar(tmp_path / "m.tar", files)
    refused(archive, bring, workspace)


def refused(archive: Path, bring: Bring, workspace: Path) -> str:
    before = {path for path in archive.parent.rglob("*") if workspace not in (path, *path.parents)}
    with pytest.raises(ApplianceError, match="is refused") as told:
        bring(archive)
    after = {path for path in archive.parent.rglob("*") if workspace not in (path, *path.parents)}
    assert told.value.problems and nothing_made(workspace) and before == after
    return "\n".join(told.value.problems)


def _link(kind: bytes, target: str) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, target

    return change


@pytest.mark.parametrize(
    "extra",
    [
        _link(tarfile.SYMTYPE, "/etc/passwd"),
        _link(tarfile.LNKTYPE, "config.json"),
        _link(tarfile.CHRTYPE, ""),
        _link(tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_tar(extra: Change, tmp_path: Path, bring: Bring, workspace: Path) -> None:
    assert "bad.json" in refused(tar(tmp_path / "m.tar", model_files(), extra=extra), bring, workspace)


def test_nul_in_tar(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.pax_headers = {"path": "a\0b.json"}

    refused(tar(tmp_path / "m.tar", model_files(), extra=change), bring, workspace)


def test_nul_in_zip(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    archive = zipped(tmp_path / "m.zip", {**model_files(), "aXb.json": b"{}"})
    archive.write_bytes(archive.read_bytes().replace(b"aXb.json", b"a\0b.json"))
    refused(archive, bring, workspace)


def test_link_in_zip(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    archive = zipped(tmp_path / "m.zip", model_files())
    with zipfile.ZipFile(archive, "a") as opened:
        member = zipfile.ZipInfo("bad.json")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(member, "/etc/passwd")
    assert "link" in refused(archive, bring, workspace)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_case_clash(kind: str, tmp_path: Path, bring: Bring, workspace: Path) -> None:
    files = {**model_files(), "Config.json": b"{}"}
    archive = zipped(tmp_path / "m.zip", files) if kind == "zip" else tar(tmp_path / "m.tar", files)
    assert "differ only in case" in refused(archive, bring, workspace)


def test_bomb_in_zip(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    archive = tmp_path / "m.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in {**model_files(), "bomb.json": b" " * 70_000_000}.items():
            opened.writestr(name, content)
    assert "unpacks to" in refused(archive, bring, workspace)


def test_bomb_in_tar_is_seen_in_its_header(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    archive = tmp_path / "m.tar"
    member = tarfile.TarInfo("bomb.safetensors")
    member.size = 10**15
    archive.write_bytes(member.tobuf() + b"\0" * 10240)
    assert "unpacks to" in refused(archive, bring, workspace)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_cut_archive(kind: str, tmp_path: Path, bring: Bring, workspace: Path) -> None:
    if kind == "zip":
        archive = zipped(tmp_path / "m.zip", inside("m"))
    else:
        # Not compressible, so that the cut falls into the middle of a member.
        files = {**inside("m"), "m/noise.json": os.urandom(200_000)}
        archive = tar(tmp_path / f"m.{kind}", files, "w" if kind == "tar" else "w:gz")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ApplianceError) as told:
        bring(archive)
    assert told.value.why and told.value.next_step and nothing_made(workspace)


def test_flipped_byte_in_zip(tmp_path: Path, bring: Bring, workspace: Path) -> None:
    archive = zipped(tmp_path / "m.zip", model_files())
    archive.write_bytes(archive.read_bytes().replace(b"qwen3", b"qwen4", 1))
    with pytest.raises(ApplianceError, match="can't be read"):
        bring(archive)
    assert nothing_made(workspace)


def test_other_file(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "model.gguf").write_bytes(b"x")
    with pytest.raises(ApplianceError, match="neither a folder nor a known archive"):
        bring(tmp_path / "model.gguf")
