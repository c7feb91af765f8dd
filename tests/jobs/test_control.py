"""Two menus on one workspace, one card for two jobs, a worker that must not start twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from workers import done, ended, until

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.jobs import control, prepare
from appliance.jobs.control import Draft
from appliance.jobs.folder import Job, State, all_jobs
from appliance.jobs.watch import Picture

SUBMIT = """
import sys
from appliance.jobs import control
control._spawn = lambda *words: None
sys.stdin.read(1)
for number in range(20):
    print(control.submit(control.Draft("merge", "the same name", {"number": number})).id)
"""

# A library that makes another error of whatever ends its import, and hides that it did.
HIDES = """
import os, signal, sys
from appliance.work import __main__ as worker
def run(context):
    caught = False
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 60)
    except BaseException:
        caught = True
    raise ImportError(f"Could not import module 'set_seed' ({caught}).")
sys.modules["hides"] = type(sys)("hides")
sys.modules["hides"].run = run
worker.KINDS["merge"] = "hides"
sys.exit(worker.main())
"""


def test_two_processes_submit_at_once(home: Path) -> None:
    menus = [
        subprocess.Popen([sys.executable, "-c", SUBMIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for menu in menus:
        assert menu.stdin
        menu.stdin.write("x")
        menu.stdin.flush()
    ids = [identity for menu in menus for identity in menu.communicate()[0].split()]
    assert len(ids) == len(set(ids)) == 40
    jobs = all_jobs()
    assert sorted(job.id for job in jobs) == sorted(ids)
    assert all(job.spec["id"] == job.id and job.state().state == "queued" for job in jobs)
    assert sorted(job.spec["spec"]["number"] for job in jobs) == sorted([*range(20)] * 2)
    assert not [path for path in (home / "jobs").iterdir() if path.name.startswith(".")]


def test_nothing_half_made_when_the_snapshot_fails(home: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    draft = Draft("finetune", "x", {}, rows_from={"file": rows, "mapping": None, "task": None, "sheet": None})
    with pytest.raises(Exception):  # noqa: B017 - whatever the room says of a file that is gone
        control.submit(draft)
    assert list((home / "jobs").iterdir()) == []


def test_an_environment_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APPLIANCE_ENVS", str(tmp_path))
    with pytest.raises(ApplianceError) as told:
        control.submit(Draft("finetune", "x", {}, environment="train"))
    assert "make setup" in told.value.next_step
    assert all_jobs() == []


def test_more_than_the_disk_has(home: Path) -> None:
    with pytest.raises(ApplianceError, match="Not enough disk space"):
        control.submit(Draft("merge", "x", {}, disk_gib=1e9))
    assert all_jobs() == []


def merging(shelf: Path, to: str) -> Draft:
    draft = prepare.merge(str(shelf / "adapters" / "plain"), base=str(shelf / "base-bfloat16"), to=to)
    draft.accelerators = [0]
    return draft


def test_one_card_one_job(home: Path, shelf: Path, tmp_path: Path) -> None:
    """Who waits says for whom; is stopped at once; and starts when the holder dies, however it dies."""
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 100_000})
    draft.accelerators = [0]
    holder = control.submit(draft)
    until(holder, lambda events: bool(events))
    waiting = [control.submit(merging(shelf, "one")), control.submit(merging(shelf, "two"))]
    for job in waiting:
        events = until(job, lambda events: any(event["kind"] == "waiting" for event in events))
        assert events[-1]["holder"] == holder.id and events[-1]["accelerator"] == "0"
        state = job.state()
        assert state.state == "queued" and state.waiting_for == holder.id
        picture = Picture(job)
        picture.add(state, events)
        assert holder.id in picture.words()
    assert control.stop(waiting[0]).state == "stopped"
    assert waiting[1].state().state == "queued"
    other = prepare.merge(str(shelf / "adapters" / "plain"), base=str(shelf / "base-bfloat16"), to="three")
    assert done(control.submit(other))  # a job that wants no card does not wait
    os.kill(holder.state().pid, signal.SIGKILL)
    assert done(waiting[1])["name"] == "two"
    assert ended(waiting[1]).waiting_for is None
    assert not (home / "models" / "one").exists()


def test_a_job_takes_every_card_it_uses_and_slices_by_their_name(home: Path, shelf: Path, tmp_path: Path) -> None:
    """Two whole cards and a slice, whose number would be the whole card's; the libraries see these and no others."""
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 100_000})
    draft.accelerators, draft.uuids = [3, 1, 0], ["GPU-3", None, "MIG-0a1b"]
    holder = control.submit(draft)
    until(holder, lambda events: bool(events))
    variables = Path(f"/proc/{holder.state().pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_VISIBLE_DEVICES=3,1,MIG-0a1b" in variables and b"CUDA_DEVICE_ORDER=PCI_BUS_ID" in variables
    jobs = {}
    for name, number, uuid in (
        ("three", 3, "GPU-3"),
        ("slice", 2, "MIG-0a1b"),
        ("zero", 0, None),
        ("other", 0, "MIG-"),
    ):
        wanted = merging(shelf, name)
        wanted.accelerators, wanted.uuids = [number], [uuid]
        jobs[name] = control.submit(wanted)
    for name in ("three", "slice"):
        until(jobs[name], lambda events: any(event["kind"] == "waiting" for event in events))
        assert jobs[name].state().waiting_for == holder.id
    assert done(jobs["zero"]) and done(jobs["other"])  # another card, another slice
    control.stop(holder)
    assert done(jobs["three"]) and done(jobs["slice"])


def test_a_second_worker_on_one_job_ends_and_changes_nothing(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    job = control.submit(prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 100_000}))
    until(job, lambda events: bool(events))
    before = job.state()
    second = [sys.executable, "-m", "appliance.work", str(job.folder)]
    ran = subprocess.run(second, env=settings.child_environment(), capture_output=True)
    assert ran.returncode == 1
    after = job.state()
    assert (after.state, after.pid, after.attempt) == (before.state, before.pid, before.attempt)
    control.stop(job)


def test_a_job_that_was_stopped_before_its_worker_began_is_not_begun(home: Path, shelf: Path) -> None:
    job = control.submit(merging(shelf, "out"))
    ended(job)
    state = job.written_state()
    state.state = "stopped"
    job.write_state(state)
    shutil.rmtree(home / "models" / "out")
    (job.folder / "result.json").unlink()
    late = subprocess.run([sys.executable, "-m", "appliance.work", str(job.folder)], env=settings.child_environment())
    assert late.returncode == 143
    assert Job(job.folder).state().state == "stopped" and not (home / "models" / "out").exists()


def test_stopped_inside_a_library_that_hides_it_a_job_is_stopped_not_failed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_spawn", lambda *_words: None)
    job = control.submit(Draft("merge", "x", {}))
    ran = subprocess.run([sys.executable, "-c", HIDES, str(job.folder)], env=settings.child_environment())
    state = job.written_state()
    assert (ran.returncode, state.state, state.error) == (143, "stopped", None)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_log_that_can_not_be_written_hides_no_failure(home: Path, shelf: Path) -> None:
    """As on a full disk: the traceback finds no room, the state still says what, why and next."""
    job = control.submit(merging(shelf, "out"))
    done(job)
    (home / "models" / "out" / "appliance-model.json").unlink()
    (job.folder / "result.json").unlink()
    job.write_state(State("queued"))
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "appliance.work", str(job.folder)]
        ran = subprocess.run(command, env=settings.child_environment(), stdout=full, stderr=full)
    state = job.written_state()
    assert ran.returncode == 1 and state.state == "failed" and state.error and "there already" in state.error["what"]


def test_the_end_of_a_container_stops_all(home: Path, shelf: Path, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    draft = prepare.finetune(str(shelf / "base-float32"), str(rows), wish={"steps": 100_000})
    draft.accelerators = [0]
    holder = control.submit(draft)
    until(holder, lambda events: any(event.get("phase") == "training" for event in events))
    waiting = control.submit(merging(shelf, "out"))
    until(waiting, lambda events: bool(events))
    control.stop_all()
    assert [job.state().state for job in (holder, waiting)] == ["stopped", "stopped"]


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight: float) -> None:
    with pytest.raises(UsageError, match="--weights"):
        prepare.merge("a", more=["b"], weights=[weight, 1.0])
