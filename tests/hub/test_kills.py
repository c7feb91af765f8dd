"""kill -9 at random bytes: the job goes on where it was, and hardly a byte is sent or written twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub
from forker import Forker
from model_files import large_files
from test_faults import nothing_shown, whole

from appliance.hub import workspace

SIZES = (40_000_000, 24_000_000)


@pytest.fixture(params=["huggingface", "modelscope"])
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def forker(source: str, hubs: dict[str, FakeHub]) -> Iterator[Forker]:
    one = Forker(source)
    yield one
    one.close()


def written(pid: int) -> int:
    """Bytes that a process has written so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def kill_at(forker: Forker, hub: FakeHub, sent: int) -> int:
    """Start a worker, kill it once the hub has sent so many bytes more. Returns what it had written."""
    before = hub.bytes_sent.total()
    pid = forker.start()
    deadline = time.monotonic() + 60
    while hub.bytes_sent.total() - before < sent and time.monotonic() < deadline:
        time.sleep(0.0005)
    os.kill(pid, signal.SIGSTOP)
    count = written(pid)
    os.kill(pid, signal.SIGKILL)
    assert forker.ended() == -signal.SIGKILL
    return count


def test_ten_kills(source: str, hubs: dict[str, FakeHub], forker: Forker) -> None:
    hub, chance = hubs[source], random.Random(source)
    hub.files = large_files(SIZES)
    hub.rate = 4_000_000
    total = sum(map(len, hub.files.values()))
    share = 0
    for _kill in range(10):
        share += kill_at(forker, hub, chance.randrange(total // 20, total // 11))
        nothing_shown()
        assert [one.name for one in workspace.unfinished()] == ["owner--tiny"]
    pid = forker.start()
    assert forker.ended() == 0
    folder = workspace.resolve("owner/tiny")
    assert folder is not None and not Path(f"/proc/{pid}").exists()
    whole(folder, hub.files)
    print(f"sent {hub.bytes_sent.total() / total:.4f}, written before the last {share / total:.4f}")
    assert hub.bytes_sent.total() <= 1.02 * total
    assert share <= 1.01 * total


@pytest.mark.slow
def test_two_hundred_kills(source: str, hubs: dict[str, FakeHub], forker: Forker) -> None:
    hub, chance = hubs[source], random.Random(source)
    hub.files = large_files((20_000_000, 12_000_000))
    hub.rate = 2_000_000
    total = sum(map(len, hub.files.values()))
    for _kill in range(200):
        kill_at(forker, hub, chance.choice([0, 0, 1, chance.randrange(total // 250)]))
        nothing_shown()
    forker.start()
    assert forker.ended() == 0
    folder = workspace.resolve("owner/tiny")
    assert folder is not None
    whole(folder, hub.files)
    print(f"sent {hub.bytes_sent.total() / total:.4f}")
    assert hub.bytes_sent.total() <= 1.25 * total
