"""Every byte read again: what is wrong is named, remembered, and mended by bringing only that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bringing import Bring
from fake_hub import COMMIT, MODEL, FakeHub
from killing import killed, killed_before_change
from model_files import TAKEN, model_files, write

from appliance.errors import ApplianceError
from appliance.files import read_json, write_json
from appliance.hub import export as exporting
from appliance.hub import manifest, workspace
from appliance.hub.model import inspect, look
from appliance.hub.verify import Verdict, damage, problems, reopen, verify

SHARD = "model-00001-of-00002.safetensors"


def read(folder: Path) -> Verdict:
    return verify(folder, lambda _name, _count: None, lambda: None)


def flip(path: Path) -> None:
    """One byte changes at rest; size and times stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def model(tmp_path: Path, bring: Bring) -> Path:
    """Imported from a folder."""
    return bring(write(tmp_path / "source", model_files()), "tiny")


def test_a_whole_one(model: Path) -> None:
    seen: list[int] = []
    verdict = verify(model, lambda _name, count: seen.append(count), lambda: None)
    assert not verdict.damaged and verdict.extra == () and sum(seen) == verdict.bytes and verdict.files == len(TAKEN)
    assert "damaged" not in (manifest.read(model) or {}) and (manifest.read(model) or {})["verified"]


def test_what_is_wrong_is_named_and_remembered(model: Path) -> None:
    flip(model / SHARD)
    (model / "LICENSE").unlink()
    (model / "README.md").write_bytes(b"longer than it was" * 10)
    write(model, {"evil.py": b"x", "additional_chat_templates/x.jinja": b"x"})
    assert look(model)[1] == ["Files changed since they were brought here: LICENSE, README.md."]
    verdict = read(model)
    assert verdict.changed == ("README.md", SHARD) and verdict.missing == ("LICENSE",)
    assert verdict.extra == ("additional_chat_templates/x.jinja", "evil.py")
    told = damage([verdict])
    assert [line.split(": ")[1].split(" is")[0] for line in told.problems] == ["README.md", SHARD, "LICENSE"]
    assert "appliance models remove tiny" in told.next_step and "appliance models import" in told.next_step
    # From now on without reading: a flipped byte that no size gives away.
    assert [model.complete for model in workspace.list_models()] == [False]
    with pytest.raises(ApplianceError, match="can't be used") as refused:
        inspect(model)
    assert SHARD in refused.value.why


def test_a_mark_goes_away_with_the_damage(model: Path) -> None:
    whole = (model / SHARD).read_bytes()
    flip(model / SHARD)
    assert read(model).damaged and not workspace.list_models()[0].complete
    (model / SHARD).write_bytes(whole)
    assert not read(model).damaged and workspace.list_models()[0].complete


def test_many_wrong_files_are_counted(model: Path) -> None:
    for number in range(15):
        write(model, {f"{number}.json": b"{}"})
    manifest.write(model, source="folder", reference="/x", revision=None)
    for number in range(15):
        (model / f"{number}.json").unlink()
    assert len(problems(read(model))) == 11 and problems(read(model))[-1] == "… and 5 more"


def test_a_folder_without_a_manifest(model: Path) -> None:
    (model / manifest.NAME).unlink()
    with pytest.raises(ApplianceError, match="is not a whole model"):
        read(model)


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_a_download_mends_with_the_wrong_files_alone(source: str, hubs: dict[str, FakeHub], bring: Bring) -> None:
    folder = bring(source=source)
    flip(folder / SHARD)
    (folder / "LICENSE").unlink()
    hubs[source].sent.clear()
    # Not yet found by a verify: it may be a person's own change, which nothing takes away.
    with pytest.raises(ApplianceError, match="is taken"):
        bring(source=source)
    assert damage([read(folder)]).next_step.endswith(f"appliance download {MODEL}")
    # A hub that does not answer takes nothing away either.
    hubs[source].status = 503
    with pytest.raises(ApplianceError):
        bring(source=source)
    assert workspace.resolve(MODEL) == folder
    hubs[source].status = 200
    bring(source=source)
    assert set(hubs[source].sent) == {SHARD, "LICENSE"}
    assert not read(folder).damaged and (manifest.read(folder) or {})["revision"] == COMMIT
    assert "Damaged files are brought again: LICENSE, " + SHARD in bring.notes


def test_an_import_mends_with_the_wrong_files_alone(hubs: dict[str, FakeHub], bring: Bring, tmp_path: Path) -> None:
    exporting.export(bring(), tmp_path / "m.tar", progress=lambda *_step: None, check_stopped=lambda: None)
    folder = bring(tmp_path / "m.tar", "from a stick")
    flip(folder / "LICENSE")
    kept = (folder / SHARD).stat().st_ino
    assert damage([read(folder)]).next_step.endswith(f"appliance models import {tmp_path}/m.tar --to 'from a stick'")
    # The stick fails, too: what is whole stays for another try.
    good = (tmp_path / "m.tar").read_bytes()
    (tmp_path / "m.tar").write_bytes(good.replace(b"text\n", b"texT\n"))
    with pytest.raises(ApplianceError, match="damaged"):
        bring(tmp_path / "m.tar", "from a stick")
    (tmp_path / "m.tar").write_bytes(good)
    bring(tmp_path / "m.tar", "from a stick")
    assert not read(folder).damaged and (folder / SHARD).stat().st_ino == kept


def test_a_damaged_copy_of_a_folder_is_not_given_up(model: Path, bring: Bring, tmp_path: Path) -> None:
    """Nothing says which bytes of a plain folder are right, so it is not mended in place."""
    flip(model / SHARD)
    read(model)
    with pytest.raises(ApplianceError, match="is taken"):
        bring(tmp_path / "source", "tiny")
    assert (model / SHARD).exists()


def test_mending_is_refused_where_an_unfinished_one_is_in_the_way(hubs: dict[str, FakeHub], bring: Bring) -> None:
    folder = bring()
    flip(folder / SHARD)
    read(folder)
    write(folder.with_name(".owner--tiny.partial"), {"x": b"y"})
    with pytest.raises(ApplianceError, match="in the way"):
        bring()
    assert folder.is_dir()


def test_marks_from_a_stranger_lead_nowhere(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "home" / "models" / "precious"
    outside.write_bytes(b"x")
    write_json(model / manifest.NAME, {**read_json(model / manifest.NAME), "damaged": ["../precious", "LICENSE"]})
    reopen(model, model.with_name(".tiny.partial"))
    assert outside.exists() and not (model.with_name(".tiny.partial") / "LICENSE").exists()


def test_killed_before_every_change_on_the_disk(hubs: dict[str, FakeHub], bring: Bring, tmp_path: Path) -> None:
    """A verify and the mending after it."""
    exporting.export(bring(), tmp_path / "m.tar", progress=lambda *_step: None, check_stopped=lambda: None)
    folder = bring(tmp_path / "m.tar", "brought")
    copy = tmp_path / "damaged"
    flip(folder / SHARD)
    shutil.copytree(folder, copy)
    number = 0
    while killed_before_change(number := number + 1, lambda: read(folder)):
        assert manifest.read(folder) is not None
    assert not workspace.list_models()[0].complete and number > 3
    number = 0
    while killed_before_change(number := number + 1, lambda: Bring()(tmp_path / "m.tar", "brought")):
        assert not folder.exists() or manifest.marked(manifest.read(folder) or {}) or not read(folder).damaged
    assert not read(folder).damaged and number > 5
    assert not killed(lambda: read(folder))
