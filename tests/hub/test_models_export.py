"""Out to a stick as a folder or a tar and in again on another machine: whole, or not at all, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bringing import Bring
from killing import killed, killed_before_change
from model_files import TAKEN, model_files, safetensors, write

from appliance import settings
from appliance.errors import ApplianceError, Stopped, UsageError
from appliance.hub import export as exporting
from appliance.hub import export_plan, manifest, workspace
from appliance.jobs import prepare

COMMIT = "c0ffee" * 6
FORMS = ["stick/owner--tiny", "stick/any name.tar"]


@pytest.fixture
def model(workspace: Path) -> Path:
    """As a download leaves it."""
    files = {name: content for name, content in model_files().items() if name in TAKEN}
    folder = write(workspace / "models" / "owner--tiny", files)
    manifest.write(folder, source="huggingface", reference="owner/tiny", revision=COMMIT)
    return folder


@pytest.fixture(params=FORMS)
def to(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where it is exported to: a folder, a tar."""
    (tmp_path / "stick").mkdir()
    return tmp_path / str(request.param)


def out(model: Path, to: Path, **options: Any) -> export_plan.Export:
    words: dict[str, Any] = {"progress": lambda *_step: None, "check_stopped": lambda: None, **options}
    return exporting.export(model, to, **words)


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From here on it is another machine."""
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "other"))


def same(folder: Path) -> bool:
    return all((folder / name).read_bytes() == model_files()[name] for name in TAKEN)


def hidden(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.name.startswith(".")] if place.exists() else []


def contents(path: Path) -> dict[str, bytes]:
    """Everything that stands at a path, to see whether it changed."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


def test_there_and_back(model: Path, to: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = manifest.read(model)
    steps: list[tuple[int, int, str]] = []
    made = out(model, to, progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1] == made.total and hidden(to.parent) == []
    if made.is_tar:
        with tarfile.open(to) as packed:
            assert to.stat().st_size == made.total and packed.getnames()[0] == f"owner--tiny/{manifest.NAME}"
    elsewhere(monkeypatch, tmp_path)
    folder = bring(to, "brought")
    after = manifest.read(folder)
    assert before and after and same(folder)
    assert {key: after[key] for key in ("source", "reference", "revision", "files")} == {
        key: before[key] for key in ("source", "reference", "revision", "files")
    }
    assert after["through"] == str(to)
    assert workspace.resolve("owner/tiny") == folder == workspace.resolve("brought")
    bring(to, "brought")
    assert "Already here" in bring.notes[-1]


def test_a_model_in_a_tar_is_brought_here_first(model: Path, tmp_path: Path) -> None:
    out(model, tmp_path / "m.tar")
    with pytest.raises(ApplianceError, match="is an archive") as told:
        prepare.serve(str(tmp_path / "m.tar"))
    assert f"appliance models import {tmp_path / 'm.tar'}" in told.value.next_step


def test_the_system_s_own_tar_reads_it(model: Path, tmp_path: Path) -> None:
    out(model, tmp_path / "m.tar")
    shutil.unpack_archive(tmp_path / "m.tar", tmp_path / "unpacked", filter="data")
    assert same(tmp_path / "unpacked" / "owner--tiny")


@pytest.mark.parametrize("taken", ["file", "folder", "dangling link"])
def test_nothing_is_written_over(model: Path, to: Path, taken: str) -> None:
    if taken == "folder":
        write(to, {"mine.txt": b"mine"})
    elif taken == "file":
        to.write_bytes(b"mine")
    else:
        to.symlink_to(to.parent / "nowhere")
    with pytest.raises(ApplianceError, match="is there already"):
        out(model, to)
    assert os.path.lexists(to) and "mine" in str(contents(to)) + "mine" * to.is_symlink() and hidden(to.parent) == []


def test_a_target_that_comes_meanwhile_is_not_written_over(model: Path, to: Path) -> None:
    with pytest.raises(ApplianceError, match="is there already"):
        out(model, to, progress=lambda *_step: to.exists() or to.write_bytes(b"mine"))
    assert to.read_bytes() == b"mine" and not hidden(to.parent)


def test_an_import_writes_over_nothing(model: Path, to: Path, bring: Bring, workspace: Path) -> None:
    out(model, to)
    mine = write(workspace / "models" / "mine", {"config.json": b"mine"})
    with pytest.raises(ApplianceError, match="is taken"):
        bring(to, "mine")
    assert contents(mine) == {"config.json": b"mine"}


def test_where_it_goes(tmp_path: Path) -> None:
    assert export_plan.target(str(tmp_path), "tiny") == tmp_path / "tiny"
    assert export_plan.target(f"{tmp_path}/new", "tiny") == tmp_path / "new"
    assert export_plan.target(f"{tmp_path}/x.tar", "tiny") == tmp_path / "x.tar"
    with pytest.raises(UsageError, match=r"exported as \.tar"):
        export_plan.target(f"{tmp_path}/x.tar.gz", "tiny")


def test_a_place_that_is_not_there(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ApplianceError, match="is not there") as told:
        out(model, tmp_path / "no stick" / "x.tar")
    assert "plugged in" in told.value.why and not (tmp_path / "no stick").exists()
    with pytest.raises(ApplianceError, match="into itself"):
        out(model, model / "x.tar")


def test_only_whole_models_go_out(model: Path, to: Path) -> None:
    (model / "config.json").write_bytes(b"{}")
    with pytest.raises(ApplianceError, match="is damaged"):
        out(model, to)
    (model / manifest.NAME).unlink()
    with pytest.raises(ApplianceError, match="is not a whole model"):
        out(model, to)
    assert contents(to.parent) == {}


def test_damage_of_the_same_size_is_seen_on_the_way_and_remembered(model: Path, to: Path) -> None:
    (model / "LICENSE").write_bytes(b"texT\n")
    with pytest.raises(ApplianceError, match="is damaged") as told:
        out(model, to)
    assert "LICENSE" in told.value.why and "appliance download owner/tiny" in told.value.next_step
    assert contents(to.parent) == {} and manifest.marked(manifest.read(model) or {}) == ["LICENSE"]


def test_too_little_room(model: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 100_000})())
    with pytest.raises(ApplianceError, match="too little room"):
        out(model, to)
    assert contents(to.parent) == {}


def test_a_stick_that_fills_up(model: Path, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path / "stick"], capture_output=True
    ).returncode:
        pytest.skip("no permission to mount a small disk")
    ballast = tmp_path / "stick" / "ballast"

    def fill(*_step: Any) -> None:
        if not ballast.exists():
            with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(b"0" * 4096):
                    pass

    try:
        for name in ("m.tar", "m"):
            with pytest.raises(ApplianceError, match="too little room") as told:
                out(model, tmp_path / "stick" / name, progress=fill)
            assert "filled up" in told.value.why
            assert name not in os.listdir(tmp_path / "stick") and hidden(tmp_path / "stick") == []
            ballast.unlink()
            out(model, tmp_path / "stick" / name)
    finally:
        subprocess.run(["umount", "-l", tmp_path / "stick"], check=True)


def test_a_file_system_with_a_largest_file(model: Path, to: Path) -> None:
    """As on FAT, where the system refuses what goes beyond 4 GiB: here it does so at 50 kB."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(ApplianceError, match="too large for the file system") as told:
            out(model, to)
        assert "FAT32" in told.value.why
        assert ("as a folder" if to.suffix else "exFAT") in told.value.next_step

    assert not killed(limited)
    assert contents(to.parent) == {}


def test_fat_is_known_before_the_first_byte(model: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = type("Part", (), {"mountpoint": str(to.parent), "fstype": "vfat"})
    monkeypatch.setattr("psutil.disk_partitions", lambda all: [part, type("P", (), {"mountpoint": "/", "fstype": "x"})])
    assert export_plan.file_limit(to.parent) == 2**32 - 1
    assert export_plan.file_limit(model) is None
    monkeypatch.setattr(export_plan, "FAT_LIMIT", 100_000)
    with pytest.raises(ApplianceError, match="too large"):
        out(model, to)
    assert contents(to.parent) == {}


@pytest.mark.parametrize("where", ["file", "manifest"])
def test_one_byte_changed_on_the_stick(where: str, model: Path, to: Path, bring: Bring, workspace: Path) -> None:
    out(model, to)
    old, new = (b"apache-2.0", b"apache-9.0") if where == "file" else (b'"size": 120112', b'"size": 120113')
    tampered = [path for path in ([to] if to.is_file() else to.iterdir()) if old in path.read_bytes()]
    assert len(tampered) == 1
    tampered[0].write_bytes(tampered[0].read_bytes().replace(old, new))
    with pytest.raises(ApplianceError, match="damaged: it is not what its own manifest says") as told:
        bring(to, "brought")
    assert ("README.md" if where == "file" else "120112") in told.value.problems[0]
    assert [path.name for path in (workspace / "models").iterdir()] == ["owner--tiny"]


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"files": {"../x": {"size": 1, "sha256": "0"}}}', b"[" * 100_000])
def test_a_manifest_that_is_none(bad: bytes, model: Path, tmp_path: Path, bring: Bring, workspace: Path) -> None:
    out(model, tmp_path / "out")
    (tmp_path / "out" / manifest.NAME).write_bytes(bad)
    with pytest.raises(ApplianceError, match="can't be read"):
        bring(tmp_path / "out", "brought")
    assert [path.name for path in (workspace / "models").iterdir()] == ["owner--tiny"]


@pytest.mark.parametrize(
    "change",
    [
        {"reference": "x\x1b[2J"}, {"source": 7}, {"files": {}},
        {"files": {"/etc/passwd": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"config.json": {"size": -1, "sha256": "0" * 64}}}, {"files": {"config.json": {"size": True}}},
    ],
)  # fmt: skip
def test_manifests_that_are_not_sound(change: dict[str, Any], model: Path) -> None:
    written = manifest.read(model)
    assert manifest.is_sound(written) and not manifest.is_sound({**(written or {}), **change})


def test_what_is_missing_or_was_added(model: Path, tmp_path: Path, bring: Bring) -> None:
    out(model, tmp_path / "out")
    write(tmp_path / "out", {"evil.py": b"x", "extra.json": b"{}", "._config.json": b"x"})
    assert (
        same(bring(tmp_path / "out", "brought")) and not (settings.models_folder() / "brought" / "extra.json").exists()
    )
    (tmp_path / "out" / "LICENSE").unlink()
    with pytest.raises(ApplianceError, match="damaged") as told:
        bring(tmp_path / "out", "again")
    assert told.value.problems == ["LICENSE is missing."]


def test_a_stop_keeps_what_is_there_for_the_next_try(model: Path, to: Path) -> None:
    def stop() -> None:
        if sum(map(len, contents(to.with_name(f".{to.name}.partial")).values())) > 50_000:
            raise Stopped

    with pytest.raises(Stopped):
        out(model, to, check_stopped=stop)
    assert not to.exists() and hidden(to.parent) == [f".{to.name}.partial"]
    written: list[int] = []
    real = os.pwrite
    try:
        os.pwrite = lambda file, block, at: written.append(len(block)) or real(file, block, at)  # type: ignore
        made = out(model, to)
    finally:
        os.pwrite = real
    assert sum(written) < made.total - 100_000 and hidden(to.parent) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_failure_takes_along_what_an_earlier_try_left(number: int, model: Path, to: Path) -> None:
    """A stopped try is gone on with; one that fails, with a sentence of its own or not, leaves nothing there."""

    def at(place: int, error: BaseException) -> Callable[..., None]:
        def step(done: int, _total: int, _name: str) -> None:
            if done > place:
                raise error

        return step

    with pytest.raises(Stopped):
        out(model, to, progress=at(50_000, Stopped()))
    assert hidden(to.parent) == [f".{to.name}.partial"]
    with pytest.raises((ApplianceError, OSError)) as told:
        out(model, to, progress=at(90_000, OSError(number, os.strerror(number))))
    assert isinstance(told.value, ApplianceError) == (number == errno.EIO)
    assert contents(to.parent) == {} and hidden(to.parent) == []
    assert out(model, to).total and hidden(to.parent) == []


def test_what_another_export_left_under_the_name_is_not_taken_along(model: Path, to: Path, bring: Bring) -> None:
    staging = to.with_name(f".{to.name}.partial")
    if to.suffix:
        staging.write_bytes(os.urandom(300_000))
    else:
        write(staging, {"other.safetensors": b"x", "config.json": b"y" * 1000})
    made = out(model, to)
    assert sum(len(content) for content in contents(to).values()) == made.total
    assert "other.safetensors" not in contents(to) and same(bring(to, "brought"))


def large(model: Path) -> None:
    (model / "model-00001-of-00002.safetensors").write_bytes(safetensors({"a": 1_500_000}))
    manifest.write(model, source="huggingface", reference="owner/tiny", revision=COMMIT)


def test_ten_kills_at_random_bytes(model: Path, to: Path, bring: Bring) -> None:
    large(model)
    whole = out(model, to.with_name("whole" + to.suffix))
    dice = random.Random(4)

    def dying(work: Callable[..., Any], total: int) -> None:
        moment = dice.randrange(total)

        def progress(done: int) -> None:
            if done >= moment:
                os.kill(os.getpid(), signal.SIGKILL)

        assert killed(lambda: work(progress))

    for _kill in range(10):
        dying(lambda progress: out(model, to, progress=lambda done, *_rest: progress(done)), whole.total)
        assert not to.exists()
    out(model, to)
    assert contents(to) == contents(whole.to) and hidden(to.parent) == []
    for _kill in range(10):
        bring.steps.clear()
        dying(lambda progress: Bring(watched=progress)(to, "brought"), 6_000_000)
        assert workspace.resolve("brought") is None
    assert manifest.differences(bring(to, "brought"), manifest.read(model) or {}) == []
    assert hidden(settings.models_folder()) == []


def test_killed_before_every_change_on_the_disk(model: Path, to: Path, bring: Bring) -> None:
    """The export and then the import: dead before each of their steps in turn, they still end whole."""
    number, steps = 0, 0
    while killed_before_change(number := number + 1, lambda: out(model, to, again=number > 1)):
        # The name is there only when everything is.
        assert not to.exists() or same(Bring()(to, f"seen-{number}"))
    assert same(bring(to, "exported")) and hidden(to.parent) == []
    steps += number
    number = 0
    while killed_before_change(number := number + 1, lambda: Bring()(to, "brought")):
        there = workspace.resolve("brought")
        assert there is None or same(there)
    assert same(settings.models_folder() / "brought") and hidden(settings.models_folder()) == []
    assert steps > 10 and number > 20


def test_two_at_once(model: Path, to: Path) -> None:
    seen: list[str] = []

    def second(*_step: Any) -> None:
        if not seen:
            with pytest.raises(ApplianceError, match="Another job is writing") as told:
                out(model, to)
            seen.append(told.value.what)

    out(model, to, progress=second)
    assert seen and json.loads(contents(to).get(manifest.NAME, b"{}")) is not None
