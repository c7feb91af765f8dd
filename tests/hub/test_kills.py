"""kill -9 at random bytes: the job goes on where it was, and hardly a byte is sent or written twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub
from forker import Forker
from model_files import large_files
from test_faults import nothing_shown, whole

from appliance.hub.workspace import resolve, unfinished

SIZES = (40_000_000, 24_000_000)


@pytest.fixture
def forker(hubs: dict[str, FakeHub]) -> Iterator[Callable[[str], Forker]]:
    started: list[Forker] = []

    def start(source: str) -> Forker:
        started.append(Forker(source))
        return started[-1]

    yield start
    for one in started:
        one.close()


def written(io: str) -> int:
    """Bytes that a process has written, by its /proc/PID/io."""
    return int(next(line for line in io.splitlines() if line.startswith("wchar")).split()[1])


def kill_at(forker: Forker, hub: FakeHub, sent: int) -> int:
    """Start a worker, kill it once the hub has sent so many bytes more. Returns what it had written."""
    before = hub.bytes_sent.total()
    pid = forker.start()
    deadline = time.monotonic() + 60
    while hub.bytes_sent.total() - before < sent and time.monotonic() < deadline:
        time.sleep(0.0005)
    os.kill(pid, signal.SIGSTOP)
    count = written(Path(f"/proc/{pid}/io").read_text())
    os.kill(pid, signal.SIGKILL)
    assert forker.ended() == -signal.SIGKILL
    return count


def test_ten_kills(hubs: dict[str, FakeHub], forker: Callable[[str], Forker], workspace: Path) -> None:
    hub, chance = hubs["huggingface"], random.Random(10)
    hub.files = large_files(SIZES)
    hub.rate = 4_000_000
    total = sum(map(len, hub.files.values()))
    worker, on_disk = forker("huggingface"), 0
    for _kill in range(10):
        on_disk += kill_at(worker, hub, chance.randrange(total // 20, total // 11))
        nothing_shown()
        assert [one.name for one in unfinished()] == ["owner--tiny"]
    ended_well(worker, hub)
    on_disk += written((workspace / "io").read_text())
    print(f"sent {hub.bytes_sent.total() / total:.4f}, written {on_disk / total:.4f}")
    assert hub.bytes_sent.total() <= 1.02 * total
    assert on_disk <= 1.01 * total


@pytest.mark.slow
def test_two_hundred_kills(hubs: dict[str, FakeHub], forker: Callable[[str], Forker]) -> None:
    hub, chance = hubs["modelscope"], random.Random(200)
    hub.files = large_files((20_000_000, 12_000_000))
    hub.rate = 2_000_000
    total = sum(map(len, hub.files.values()))
    worker = forker("modelscope")
    for _kill in range(200):
        kill_at(worker, hub, chance.choice([0, 1, chance.randrange(total // 150)]))
        nothing_shown()
    ended_well(worker, hub)
    print(f"sent {hub.bytes_sent.total() / total:.4f}")
    assert hub.bytes_sent.total() <= 1.25 * total


def ended_well(worker: Forker, hub: FakeHub) -> None:
    """One run without a kill ends whole."""
    worker.start()
    assert worker.ended() == 0
    folder = resolve("owner/tiny")
    assert folder is not None
    whole(folder, hub.files)
