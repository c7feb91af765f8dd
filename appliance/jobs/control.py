"""Start, stop, resume, remove: what changes a job from outside its worker."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import __version__, files, settings
from appliance.errors import ApplianceError
from appliance.jobs import leftovers, process, sweep
from appliance.jobs.folder import Job, State, all_jobs, follow
from appliance.locale import _, language
from appliance.merging.journal import staging_folder

# Which kinds of job may see the hubs' tokens, proxies and the packages' index; no other child process does.
_EXTRA = {
    "download": settings.HUB_VARIABLES,
    "push": settings.HUB_VARIABLES,
    "install": settings.PACKAGE_VARIABLES,
}


@dataclass
class Draft:
    """A job before it is submitted: what will happen, what it takes, and the command that does the same.

    spec          what the worker reads (job.json's "spec"); every choice resolved
    environment   the locked environment it runs in: core, train, quantize, vllm
    accelerators  indices of the cards it will lock
    uuids         NVIDIA's names of the same cards, in their order; None where it is not known
    facts         (label, sentence) pairs for the screen before the start
    command       the command line that does the same without the menu
    disk_at       where disk_gib is needed, if not in the workspace
    rows_from     a data file whose kept rows are written into the job folder as rows.jsonl; `held_out`: this share of
                  them is not learned from, and held_out.json says which
    """

    kind: str
    name: str
    spec: dict[str, Any]
    environment: str = "core"
    accelerators: list[int] = field(default_factory=list)
    uuids: list[str | None] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    command: str = ""
    disk_gib: float = 0.0
    disk_at: Path | None = None
    rows_from: dict[str, Any] | None = None
    recipe: dict[str, Any] | None = None


def submit(draft: Draft) -> Job:
    """Make the job's folder, whole or not at all, and start its worker. Raises ApplianceError."""
    check_workspace()
    sweep.sweep()
    _check_disk(draft.disk_gib, draft.disk_at or settings.home())
    python = settings.python_of(draft.environment)
    if not python.exists():
        raise missing_environment(draft.environment)
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{draft.kind}-{_slug(draft.name)}"
    root = settings.jobs_folder()
    staging = root / f".{stem}.{secrets.token_hex(4)}.tmp"
    staging.mkdir(parents=True)
    try:
        spec = dict(draft.spec)
        if draft.rows_from is not None:
            spec["data"] = _snapshot(draft.rows_from, staging)
        for number in range(1, 1000):
            identity = stem if number == 1 else f"{stem}-{number}"
            job = {
                "id": identity,
                "kind": draft.kind,
                "created": datetime.now().astimezone().isoformat(timespec="seconds"),
                "appliance": __version__,
                "language": language(),
                "environment": draft.environment,
                "accelerators": draft.accelerators,
                "uuids": draft.uuids,
                "command": draft.command,
                "spec": spec,
                "plan": draft.plan,
                "recipe": draft.recipe,
            }
            files.write_json(staging / "job.json", job)
            Job(staging).write_state(State("queued"))
            try:
                os.rename(staging, root / identity)
                break
            except OSError:
                if not (root / identity).exists():
                    raise
        files.sync_folder(root)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    made = Job(root / identity)
    _spawn(made, draft.environment, draft.kind)
    return made


def _snapshot(wanted: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The data's kept rows, written into the job: a file changed or removed later can't hurt a resume."""
    from appliance import data

    wanted = dict(wanted)
    share = wanted.pop("held_out", 0.0)
    report = data.write_rows(to=folder / "rows.jsonl", pictures=folder / "pictures", **wanted)
    return {
        "held_out": data.hold_out(folder / "rows.jsonl", folder / "held_out.json", share) if share else 0,
        "file": str(wanted["file"]),
        "sha256": report.sha256,
        "rows": report.kept,
        "task": report.task,
        "format": report.format,
    }


def check_workspace() -> None:
    """The workspace is there and can be written; made if it is not there. Raises ApplianceError."""
    home = settings.home()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_workspace(error) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise unwritable_workspace(PermissionError(13, "Permission denied", str(home)))


def _check_disk(needed_gib: float, place: Path) -> None:
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    # A reserve for states and logs, so that a job which just fits can still say how it ended.
    if free < needed_gib + 0.1:
        raise ApplianceError(
            _("Not enough disk space."),
            _("This needs {needed:.1f} GiB in {place}; {free:.1f} GiB are free.").format(
                needed=needed_gib + 0.1, place=place, free=free
            ),
            _("Free some space, remove old jobs (appliance jobs remove ID), or set APPLIANCE_HOME to a larger disk."),
        )


def unwritable_workspace(error: OSError) -> ApplianceError:
    """The one sentence for a workspace that can't be written."""
    home = settings.home()
    if home.exists() and not home.is_dir():
        return ApplianceError(
            _("The workspace {home} can't be written.").format(home=home),
            _("It is a file, not a folder."),
            _("Set APPLIANCE_HOME to a folder, or to a name that is still free."),
        )
    return ApplianceError(
        _("The workspace {home} can't be written.").format(home=home),
        error.strerror or str(error),
        _("Give it to yourself: sudo chown -R {uid}:{gid} {home}   or set APPLIANCE_HOME to another folder.").format(
            uid=os.getuid(), gid=os.getgid(), home=shlex.quote(str(home))
        ),
    )


def missing_environment(name: str) -> ApplianceError:
    """The one sentence for a locked environment that isn't installed."""
    return ApplianceError(
        _("The environment for this job ({name}) is not installed.").format(name=name),
        _("{path} is not there.").format(path=settings.python_of(name)),
        _("Install it: appliance install {name}").format(name=name)
        if name == "quantize"
        else _("Install it: make {target}").format(target="setup" if name in ("core", "train") else f"setup-{name}"),
    )


def _slug(name: str) -> str:
    """A name for a folder: letters, digits, dots and dashes, at most 40 of them."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:40].strip("-.") or "job"


def cards_of(spec: Mapping[str, Any]) -> list[str]:
    """The cards of a job as CUDA_VISIBLE_DEVICES and the lock files call them: whole ones by number, slices by UUID.

    A slice (MIG) has no number of its own there, and ours changes when the machine is cut up anew.
    """
    numbers = spec.get("accelerators") or []
    uuids = spec.get("uuids") or [None] * len(numbers)
    return [
        uuid if uuid and uuid.startswith("MIG-") else str(number) for number, uuid in zip(numbers, uuids, strict=True)
    ]


def _spawn(job: Job, environment: str, kind: str) -> None:
    """Start the worker in a session of its own: it lives on when the menu closes."""
    python = settings.python_of(environment)
    extra: tuple[str, ...] = _EXTRA.get(kind, ())
    for tracker in job.described["spec"].get("track") or ():  # the keys that it needs, and no others
        extra += settings.TRACKERS[tracker]
    variables = settings.child_environment(*extra)
    variables["APPLIANCE_LANG"] = language()
    if cards := cards_of(job.spec):
        # The cards that it locks, and no other: to the libraries they are all there is, numbered from 0.
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(cards)
        # NVML, where the numbers are from, counts by the bus; CUDA by itself begins with the fastest card.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    with job.log.open("ab") as log:
        try:
            # Detached on purpose: nobody waits for it here, its state is in the folder.
            subprocess.Popen(
                [str(python), "-P", "-m", "appliance.work", str(job.folder)],
                cwd=job.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            failure = missing_environment(environment)
            job.write_state(State("failed", error=failure.as_dict()))
            raise failure from error


def resume(job: Job) -> Job:
    """Start a stopped or failed job again in its own folder. Raises ApplianceError."""
    state = job.state()
    if state.active:
        raise ApplianceError(
            _("The job {id} is {state} already.").format(id=job.id, state=state.word),
            "",
            _("Watch it: appliance jobs show {id}").format(id=job.id),
        )
    if state.state == "done":
        raise ApplianceError(
            _("The job {id} is done; there is nothing to resume.").format(id=job.id),
            "",
            _("See what it made: appliance jobs show {id}").format(id=job.id),
        )
    spec = job.spec
    # What a killed worker left behind (an engine, say) would hold the card and the port against its successor.
    if state.pid is not None:
        process.end_group(state.pid, state.start_mark)
    leftovers.end(job)
    (job.folder / "serving.json").unlink(missing_ok=True)  # an address that is no more
    job.write_state(State("queued", attempt=state.attempt + 1))
    _spawn(job, spec["environment"], spec["kind"])
    return job


def stop(job: Job, patience: float = 30.0, grace: float = 5.0) -> State:
    """Ask the worker to save and end; after `patience` seconds end its whole group. Returns the state then.

    grace  seconds between the group's SIGTERM and its SIGKILL
    """
    state = job.state()
    if not state.active:
        if state.pid is not None and job.written_state().active:  # a killed worker: end what it left
            process.end_group(state.pid, state.start_mark)
        leftovers.end(job)
        return state
    if state.pid is not None and not process.alive(state.pid, state.start_mark) and job.locked():
        raise ApplianceError(
            _("The job {id} runs in another container.").format(id=job.id),
            _("Its process can't be reached from here."),
            _("Stop it there, or stop that container."),
        )
    deadline = time.monotonic() + patience
    told = False
    for now, _events in follow(job, interval=0.1):
        state = now
        if not told and process.alive(now.pid, now.start_mark):
            assert now.pid is not None
            try:
                os.kill(now.pid, signal.SIGTERM)
                told = True
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            break
    if state.pid is not None:
        process.end_group(state.pid, state.start_mark, grace)
    leftovers.end(job)
    if job.written_state().active:
        state = State("stopped", pid=state.pid, start_mark=state.start_mark, attempt=state.attempt)
        job.write_state(state)
    return job.state()


def _active() -> list[Job]:
    return [job for job in all_jobs() if job.state().active]


def stop_all(patience: float = 8.0) -> None:
    """Stop every active job at once, for the end of a container: all are told first, then waited for."""
    active = _active()
    for job in active:
        state = job.state()
        if process.alive(state.pid, state.start_mark):
            assert state.pid is not None
            try:
                os.kill(state.pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
    deadline = time.monotonic() + patience
    for job in active:
        with contextlib.suppress(ApplianceError):  # one of another container's, which shares the workspace
            stop(job, patience=max(0.1, deadline - time.monotonic()), grace=0.5)


def remove(job: Job) -> int:
    """Delete an ended job's folder; returns the bytes freed. Raises ApplianceError while it runs."""
    if job.state().active:
        raise ApplianceError(
            _("The job {id} is still running.").format(id=job.id),
            "",
            _("Stop it first: appliance jobs stop {id}").format(id=job.id),
        )
    freed = files.folder_size(job.folder)
    spec = job.described.get("spec")
    to = spec.get("to") if isinstance(spec, dict) else None
    if job.described.get("kind") in ("merge", "quantize") and isinstance(
        to, str
    ):  # what an interrupted one had written so far
        unfinished = staging_folder(Path(to), job.id)
        freed += files.folder_size(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
    # Renamed first: a removal cut short leaves a hidden folder, not half a job.
    trash = job.folder.with_name(f".{job.id}.removed")
    os.rename(job.folder, trash)
    shutil.rmtree(trash, ignore_errors=True)
    freed += sum(files.folder_size(path) for path in sweep.lost_installs())
    sweep.sweep()
    return freed


def install_end_of_container() -> None:
    """Inside the image, SIGTERM to the front means that the container ends: stop every job first, states saved."""
    if not settings.in_container():
        return

    def on_signal(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop_all()
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, on_signal)


def stay_in_container(say: Callable[[str], None]) -> None:
    """Inside the image, the main process stays while jobs run, since its end would kill them. Ctrl-C stops them."""
    if not settings.in_container() or not _active():
        return
    say(_("The container stays while jobs run. Ctrl-C, or docker stop, saves and ends them."))
    try:
        while active := _active():  # one may have been started meanwhile, by a second menu
            for _state, _events in follow(active[0], interval=1.0):
                continue
    except KeyboardInterrupt:
        stop_all()
