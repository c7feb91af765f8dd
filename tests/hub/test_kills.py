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
from workers import PATIENCE

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


def on_the_way(hub: FakeHub) -> int:
    """Bytes that the hub has sent and the kernel has not handed on: many, where a worker waits for its turn."""
    ports = {server.server_address[1] for server in (hub.server, hub.cdn_server)}
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _number, here, there, _state, queues, *_more = line.split()
        sending, received = (int(each, 16) for each in queues.split(":"))
        count += sending if int(here.split(":")[1], 16) in ports else 0
        count += received if int(there.split(":")[1], 16) in ports else 0
    return count


def kill_at(forker: Forker, hub: FakeHub, sent: int) -> tuple[int, int]:
    """Start a worker, kill it once the hub has sent so many bytes more. Returns what it had written, and what of the
    sent bytes it had not been given yet."""
    before = hub.bytes_sent.total()
    pid = forker.start()
    deadline = time.monotonic() + PATIENCE
    while hub.bytes_sent.total() - before < sent:
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    with hub.lock:  # it sends nothing more
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)  # what was handed on is then acknowledged, and stands in one queue only
        count, late = written(Path(f"/proc/{pid}/io").read_text()), on_the_way(hub)
        os.kill(pid, signal.SIGKILL)
        assert forker.ended() == -signal.SIGKILL
    return count, late


def test_ten_kills(hubs: dict[str, FakeHub], forker: Callable[[str], Forker], workspace: Path) -> None:
    hub, chance = hubs["huggingface"], random.Random(10)
    hub.files = large_files(SIZES)
    hub.rate = 4_000_000
    total = sum(map(len, hub.files.values()))
    worker, on_disk, lost = forker("huggingface"), 0, 0
    for _kill in range(10):
        count, late = kill_at(worker, hub, chance.randrange(total // 20, total // 11))
        on_disk, lost = on_disk + count, lost + late
        nothing_shown()
        assert [one.name for one in unfinished()] == ["owner--tiny"]
    ended_well(worker, hub)
    on_disk += written((workspace / "io").read_text())
    print(f"sent {hub.bytes_sent.total() / total:.4f}, lost {lost / total:.4f}, written {on_disk / total:.4f}")
    assert hub.bytes_sent.total() - lost <= 1.02 * total
    assert on_disk <= 1.01 * total


@pytest.mark.slow
def test_two_hundred_kills(hubs: dict[str, FakeHub], forker: Callable[[str], Forker]) -> None:
    hub, chance = hubs["modelscope"], random.Random(200)
    hub.files = large_files((20_000_000, 12_000_000))
    hub.rate = 2_000_000
    total = sum(map(len, hub.files.values()))
    worker = forker("modelscope")
    lost = 0
    for _kill in range(200):
        lost += kill_at(worker, hub, chance.choice([0, 1, chance.randrange(total // 150)]))[1]
        nothing_shown()
    ended_well(worker, hub)
    print(f"sent {hub.bytes_sent.total() / total:.4f}, lost {lost / total:.4f}")
    assert hub.bytes_sent.total() - lost <= 1.25 * total


def ended_well(worker: Forker, hub: FakeHub) -> None:
    """One run without a kill ends whole."""
    worker.start()
    assert worker.ended() == 0
    folder = resolve("owner/tiny")
    assert folder is not None
    whole(folder, hub.files)
