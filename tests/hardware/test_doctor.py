"""Each check finds what it is for, and says how to mend it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from appliance.hardware import Accelerator, Cpu, Hardware, Problem, doctor


def _machine(**changes: object) -> Hardware:
    values: dict = {"accelerators": [], "cpu": Cpu("x", 2, 8, 6), "disk_free_gib": 100.0, "shm_gib": 8.0}
    return Hardware(**{**values, **changes})


def test_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    checks = doctor.doctor(tmp_path)
    names = [check.name for check in checks]
    assert names == ["gpu", "shm", "disk", "workspace", "volume", "training", "port", "terminal", "hub"]
    assert all(check.sentence and bool(check.fix) != check.ok for check in checks)


def test_a_driver_problem_keeps_its_fix() -> None:
    check = doctor.check_driver(_machine(driver_problem=Problem("too old", "a new one")))
    assert (check.level, check.sentence, check.fix) == ("problem", "too old", "a new one")


def test_a_card_that_is_ill_is_a_note_of_its_own() -> None:
    machine = _machine(card_problems=[Problem("GPU 1 is lost.", "Restart."), Problem("GPU 2 is ill.", "Replace it.")])
    assert [(check.level, check.sentence, check.fix) for check in doctor.check_cards(machine)] == [
        ("note", "GPU 1 is lost.", "Restart."),
        ("note", "GPU 2 is ill.", "Replace it."),
    ]


def test_an_accelerator_that_is_not_used() -> None:
    npu = Accelerator("npu", "Ascend 910B3", 0, 64, 64, 60, None, True)
    check = doctor.check_driver(_machine(accelerators=[npu]))
    assert check.level == "note" and "Ascend 910B3" in check.sentence and check.fix
    assert doctor.check_shm(_machine(shm_gib=0.0625, accelerators=[npu])).level == "note"


def test_shm() -> None:
    card = [Accelerator("cuda", "A10", 0, 22.49, 24, 22.0, "8.6", True)]
    check = doctor.check_shm(_machine(shm_gib=0.0625, container=True, accelerators=card))
    assert check.level == "problem"
    assert "64 MiB" in check.sentence
    assert "--shm-size" in check.fix
    assert "remount" in doctor.check_shm(_machine(shm_gib=0.0625, accelerators=card)).fix
    assert doctor.check_shm(_machine(shm_gib=0.0625)).level == "note"  # what would fail there needs a card
    assert doctor.check_shm(_machine(shm_gib=None)).ok


def test_disk(tmp_path: Path) -> None:
    assert doctor.check_disk(tmp_path, _machine(disk_free_gib=1.0)).level == "problem"
    assert doctor.check_disk(tmp_path, _machine(disk_free_gib=3.0)).level == "note"
    assert doctor.check_disk(tmp_path, _machine(disk_free_gib=6.0)).ok


def test_a_workspace_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPLIANCE_CONTAINER", raising=False)
    place = Path("/proc/self")  # nobody can write there, not even root
    check = doctor.check_writable(place)
    assert check.level == "problem"
    assert f"chown -R {os.getuid()}:{os.getgid()} " in check.fix
    assert str(place) in check.fix or "FOLDER" in check.fix
    monkeypatch.setenv("APPLIANCE_CONTAINER", "1")
    assert "On the host" in doctor.check_writable(place).fix


def test_a_writable_workspace_stays_as_it_was(tmp_path: Path) -> None:
    assert doctor.check_writable(tmp_path / "new").ok
    assert list(tmp_path.iterdir()) == []


def test_mount() -> None:
    assert doctor.check_mount(Path("/nowhere/data"), container=False).ok
    check = doctor.check_mount(Path("/nowhere/data"), container=True)
    assert check.level == "note"
    assert "-v $PWD/appliance-data:/nowhere/data" in check.fix
    assert doctor.check_mount(Path("/proc/data"), container=True).ok


def test_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path))
    assert doctor.check_training().fix == "make setup"
    (tmp_path / "train/bin").mkdir(parents=True)
    (tmp_path / "train/bin/python").touch()
    assert doctor.check_training().ok


def test_port() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check = doctor.check_port(port)
        assert check.level == "note"
        assert f"--port {port + 1}" in check.fix
    assert doctor.check_port(port).ok


def test_terminal() -> None:
    assert doctor.check_terminal("utf-8").ok
    assert doctor.check_terminal("UTF8").ok
    assert not doctor.check_terminal("ANSI_X3.4-1968").ok
    assert not doctor.check_terminal(None).ok
