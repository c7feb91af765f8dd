"""The job folder read by anyone at any time: torn lines, junk, other processes' pids."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from appliance import files
from appliance.errors import ApplianceError
from appliance.jobs import control, folder, process
from appliance.jobs.folder import STATES, Job, State
from appliance.jobs.watch import failure, summary

relaxed = hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
EVENT = st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = Job(tmp_path / "20260101-000000-merge-x")
    made.folder.mkdir()
    files.write_json(made.folder / "job.json", {"id": made.id, "kind": "merge", "spec": {}, "environment": "core"})
    return made


@relaxed
@given(written=st.lists(EVENT, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=5))
def test_events_are_read_once_and_whole_wherever_the_reader_comes(
    job: Job, written: list[dict], cuts: list[int]
) -> None:
    """A reader that looks while a writer is in the middle of a line sees it later, once, and whole."""
    whole = b"".join(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for event in written)
    path = job.folder / "events.jsonl"
    found, offset = [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(whole)), len(whole)]:
        path.write_bytes(whole[:cut])
        more, offset = folder.events(job, offset)
        found += more
    assert found == [json.loads(line) for line in whole.split(b"\n") if line]
    assert folder.events(job, offset) == ([], offset)


@relaxed
@given(before=st.lists(EVENT, max_size=3), junk=st.binary(max_size=60), after=st.lists(EVENT, max_size=3))
def test_a_torn_line_costs_no_other_line(job: Job, before: list[dict], junk: bytes, after: list[dict]) -> None:
    def lines(events: list[dict]) -> bytes:
        return b"".join(json.dumps({"kind": "note", "n": event}).encode() + b"\n" for event in events)

    torn = junk.replace(b"\n", b"") + b"\n"
    (job.folder / "events.jsonl").write_bytes(lines(before) + torn + lines(after))
    found = [event["n"] for event in folder.events(job)[0] if event.get("kind") == "note"]
    assert found == before + after


@relaxed
@given(text=st.one_of(st.binary(max_size=80), JSON.map(lambda value: json.dumps(value).encode())))
def test_a_junk_state_is_a_failed_job_that_can_be_shown(job: Job, text: bytes) -> None:
    (job.folder / "state.json").write_bytes(text)
    state = job.state()
    assert state.state in STATES
    assert state.word and job.as_dict()["state"] == state.state and summary(job)
    failure(job, state)


@relaxed
@given(changes=st.dictionaries(st.sampled_from(sorted(State.__dataclass_fields__)), JSON, min_size=1))
def test_a_state_with_a_wrong_field_can_be_shown(job: Job, changes: dict[str, object]) -> None:
    files.write_json(job.folder / "state.json", {"state": "running", "pid": None, **changes})
    state = job.state()
    assert state.state in STATES and state.word and summary(job) and json.dumps(job.as_dict())
    failure(job, state)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"id": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_junk_job_spoils_no_other(home: Path, text: bytes) -> None:
    for name, content in (("20260101-000000-merge-bad", text), ("20260101-000001-merge-good", b'{"kind": "merge"}')):
        place = home / "jobs" / name
        place.mkdir(parents=True)
        (place / "job.json").write_bytes(content)
        files.write_json(place / "state.json", {"state": "stopped"})
    assert [job.as_dict()["state"] for job in folder.all_jobs()] == ["stopped", "stopped"]
    bad = folder.find("bad")
    with pytest.raises(ApplianceError) as told:
        control.resume(bad)
    assert told.value.what and told.value.next_step
    assert bad.state().state == "stopped"
    control.remove(bad)
    assert [job.id for job in folder.all_jobs()] == ["20260101-000001-merge-good"]


def test_staging_and_trash_are_no_jobs(home: Path) -> None:
    for name in (".20260101-x.tmp", ".20260101-y.removed", "not-a-job", "20260101-000000-merge-x"):
        (home / "jobs" / name).mkdir(parents=True)
        if name != "not-a-job":
            (home / "jobs" / name / "job.json").write_text("{}")
    (home / "jobs" / "a-file").write_text("")
    assert [job.id for job in folder.all_jobs()] == ["20260101-000000-merge-x"]


def test_a_job_by_a_part_of_its_id(home: Path) -> None:
    for name in ("20260101-000000-merge-one", "20260101-000001-merge-two"):
        (home / "jobs" / name).mkdir(parents=True)
        (home / "jobs" / name / "job.json").write_text("{}")
    assert folder.find("last").id.endswith("two")
    assert folder.find("one").id.endswith("one")
    for wrong, words in (("2026", "Several"), ("three", "no job"), ("", "Several")):
        with pytest.raises(ApplianceError, match=words):
            folder.find(wrong)


def test_a_number_given_away_is_not_the_process(job: Job) -> None:
    """The pid lives, but with another start: it is not ours, it does not count as running and is not touched."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as other:
        mark = process.start_mark(other.pid)
        assert process.alive(other.pid, mark)
        for wrong in (None, "ticks:1", "", "time:3"):
            assert not process.alive(other.pid, wrong)
            assert process.end_group(other.pid, wrong)
        job.write_state(State("running", pid=other.pid, start_mark="ticks:1"))
        assert job.state().state == "failed"
        control.stop(job)
        assert other.poll() is None and process.alive(other.pid, mark)
        assert process.end_group(other.pid, mark)
        other.communicate()
    assert not process.alive(other.pid, mark)


def test_a_zombie_is_gone_and_a_group_is_ended_whole() -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '1000']); print('up', flush=True); sys.stdin.read(1)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout and leader.stdout.readline() == b"up\n"
        mark = process.start_mark(leader.pid)
        members = process.group_members(leader.pid)
        assert len(members) == 2
        os.kill(leader.pid, 9)
        os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)  # dead, but not yet waited for
        assert process.start_mark(leader.pid) is None and not process.alive(leader.pid, mark)
        assert process.end_group(leader.pid, mark)
        assert process.group_members(leader.pid) == []


def test_a_worker_gone_without_a_word(job: Job) -> None:
    """The front says what, why and next, and names the job."""
    with subprocess.Popen(["sleep", "1000"]) as worker:
        job.write_state(State("running", pid=worker.pid, start_mark=process.start_mark(worker.pid)))
        assert job.state().state == "running"
        worker.kill()
    state = job.state()
    assert state.state == "failed"
    told = failure(job, state)
    assert told.what and told.why and f"jobs resume {job.id}" in told.next_step


def test_an_active_job_is_not_removed_and_an_ended_one_not_stopped(home: Path) -> None:
    place = home / "jobs" / "20260101-000000-merge-x"
    place.mkdir(parents=True)
    files.write_json(place / "job.json", {"kind": "merge", "environment": "core"})
    job = Job(place)
    with subprocess.Popen(["sleep", "1000"]) as worker:
        job.write_state(State("running", pid=worker.pid, start_mark=process.start_mark(worker.pid)))
        with pytest.raises(ApplianceError, match="still running"):
            control.remove(job)
        with pytest.raises(ApplianceError, match="already"):
            control.resume(job)
        worker.kill()
    job.write_state(State("done"))
    assert control.stop(job).state == "done"
    with pytest.raises(ApplianceError, match="nothing to resume"):
        control.resume(job)
    assert control.remove(job) > 0 and not place.exists()
    assert list((home / "jobs").iterdir()) == []


def test_a_worker_in_another_container_is_alive(job: Job) -> None:
    """Its pid means nothing here, but its lock does."""
    job.write_state(State("running", pid=2**22 + 1, start_mark="ticks:1@elsewhere"))
    with (job.folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert job.state().state == "running"
        for act in (control.stop, control.remove, control.resume):
            with pytest.raises(ApplianceError):
                act(job)
        assert job.folder.exists()
    assert job.state().state == "failed"
