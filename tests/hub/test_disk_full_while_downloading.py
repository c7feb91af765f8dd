"""A disk that fills up while a model comes: a small tmpfs. Needs root, or is skipped."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bringing import Bring
from fake_hub import FakeHub
from model_files import large_files
from test_faults import nothing_shown, whole
from workers import PATIENCE

from appliance.errors import Stopped

FILES = large_files((9_000_000, 12_000_000))
LAST = "model-00002-of-00002.safetensors"


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk")
    monkeypatch.setenv("APPLIANCE_HOME", str(place / "home"))
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    ballast = place / "ballast"
    for size in (1024 * 1024, 4096):
        with ballast.open("ab", buffering=0) as file, pytest.raises(OSError):
            while file.write(b"\0" * size) == size:
                pass
            raise OSError
    return ballast


def until(true: object, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)
    assert true()  # type: ignore[operator]


@pytest.mark.parametrize("hub", ["huggingface", "modelscope"])
def test_it_waits_for_room_and_goes_on(hub: str, hubs: dict[str, FakeHub], small_disk: Path, bring: Bring) -> None:
    one = hubs[hub]
    one.files = dict(FILES)
    held = threading.Event()

    def plan(ask: object) -> None:
        if ask.name == LAST and not held.is_set():  # type: ignore[attr-defined]
            held.set()
            ballast.append(fill(small_disk))  # just before the file's first byte: its room is not reserved yet

    ballast: list[Path] = []
    one.plan = plan
    folders: list[Path] = []
    thread = threading.Thread(target=lambda: folders.append(bring(source=hub)), daemon=True)
    thread.start()
    until(lambda: "The disk is full" in bring.said)
    nothing_shown()
    time.sleep(0.3)
    assert thread.is_alive() and "There is room again" not in bring.said
    ballast[0].unlink()
    thread.join(PATIENCE)
    whole(folders[0], FILES)
    assert bring.said.count("The disk is full") == 1 and bring.said.count("There is room again") == 1
    assert one.bytes_sent.total() <= 1.5 * sum(map(len, FILES.values()))


def test_a_stop_is_heard_while_it_waits(hubs: dict[str, FakeHub], small_disk: Path, bring: Bring) -> None:
    one = hubs["huggingface"]
    one.files = dict(FILES)
    one.plan = lambda ask: fill(small_disk) and None if ask.name == LAST and ask.number == 0 else None

    def stop() -> None:
        if "The disk is full" in bring.said:
            raise Stopped

    bring.check_stopped = stop
    with pytest.raises(Stopped):
        bring(source="huggingface")
    assert "There is room again" not in bring.said
    nothing_shown()
    bring.check_stopped = lambda: None
    os.unlink(small_disk / "ballast")
    whole(bring(source="huggingface"), FILES)
