"""What looks as if it were on the disk, and may not be; and what must not be lost by mistake."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from bringing import Bring
from fake_hub import MODEL, FakeHub
from model_files import large_files
from test_faults import whole

from appliance.errors import ApplianceError, Stopped
from appliance.hub.hubs import HubFile, is_own
from appliance.hub.transfer.journal import Journal
from appliance.hub.transfer.target import Outdated, Target

FILES = large_files((3_000_000, 1_000_000))
LARGE = sorted(name for name in FILES if name.endswith(".safetensors"))


def fsyncs_fail(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> list[str]:
    """Every fsync of weights fails `times` times with this error; the list says of which."""
    real, failed = os.fsync, list[str]()

    def fsync(handle: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))
        if name in LARGE and len(failed) < times:
            failed.append(name)
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return failed


def test_a_failed_fsync_is_not_believed_the_second_time(
    hubs: dict[str, FakeHub], bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hubs["huggingface"]
    hub.files = dict(FILES)
    with monkeypatch.context() as patch:
        failed = fsyncs_fail(patch, errno.EIO, 1)
        with pytest.raises(ApplianceError):
            bring(source="huggingface")
    before = hub.bytes_sent[failed[0]]
    # The kernel forgets that it could not write: a second fsync succeeds.
    whole(bring(source="huggingface"), FILES)
    assert hub.bytes_sent[failed[0]] - before >= min(before, len(FILES[failed[0]])) * 0.9


def test_a_full_disk_that_says_so_at_fsync(
    hubs: dict[str, FakeHub], bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubs["huggingface"].files = dict(FILES)
    fsyncs_fail(monkeypatch, errno.ENOSPC, 2)
    whole(bring(source="huggingface"), FILES)
    assert "There is room again" in bring.said


def test_a_stop_before_the_last_rename_brings_nothing_again(
    hubs: dict[str, FakeHub], bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hubs["huggingface"]
    hub.files = dict(FILES)

    def rename(path: Path, to: Path) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Path, "rename", rename)
        bring(source="huggingface")
    sent = sum(hub.bytes_sent.values())
    whole(bring(source="huggingface"), FILES)
    assert sum(hub.bytes_sent.values()) == sent


def test_the_other_hub_where_the_first_has_nothing_to_use(hubs: dict[str, FakeHub], bring: Bring) -> None:
    hubs["huggingface"].files = {"pytorch_model.bin": b"pickle", "config.json": b"{}"}
    bring(MODEL)
    assert "From ModelScope" in bring.said


def test_given_up_at_the_last_moment_is_neither_whole_nor_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tmp_path, HubFile("a", 4), "main", Journal(tmp_path))
    target.write(target.digest, 0, [b"abcd"])
    target.hash_some(10)
    sync = target.sync
    monkeypatch.setattr(target, "sync", lambda: (sync(), target.forget()))
    with pytest.raises(Outdated):
        target.finish()
    assert not target.whole and target.free.spans == [(0, 4)]


def test_bytes_that_are_here_are_not_written_over(tmp_path: Path) -> None:
    target = Target(tmp_path, HubFile("a", 6), "main", Journal(tmp_path))
    assert target.write(target.digest, 1, [b"bcd"]) == 3
    assert target.write(target.digest, 0, [b"A", b"XXXX"]) == 2 and target.write(target.digest, 0, [b"Z"]) == 0
    assert (tmp_path / "a").read_bytes() == b"AbcdX\0"


def test_nothing_is_said_to_a_closed_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("a", 9, "sha256:x")
    journal.wrote("a", 0, 5)
    journal.close()
    with pytest.raises(OSError, match="descriptor"):
        journal.begin("a", 9, "sha256:y")
    assert Journal(tmp_path).known["a"].have.spans == [(0, 5)]


def test_an_address_without_a_host_is_nobody_s() -> None:
    assert not is_own("huggingface", "https:///x") and not is_own("modelscope", "")
    assert is_own("huggingface", "https://huggingface.co")
