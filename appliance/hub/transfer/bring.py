"""All files of one listing into a staging folder; and before that, the hub that answers and is faster."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from appliance import output
from appliance.errors import ApplianceError
from appliance.hub import hubs
from appliance.hub.data_files import choose_data
from appliance.hub.needed import choose
from appliance.hub.transfer.crew import Crew, State
from appliance.hub.transfer.journal import Journal
from appliance.hub.transfer.limits import Limits
from appliance.hub.transfer.source import Source
from appliance.hub.transfer.target import Target
from appliance.locale import _, language

_ANSWER_SECONDS = 20.0  # for a listing, when there is another hub to ask
_GRACE_SECONDS = 2.0  # what the other hub gets after one has answered
_LOOK_SECONDS = 0.1
_PROBE_BYTES = 2 * 1024 * 1024
_PROBE_SECONDS = 3.0
_MUCH_FASTER = 1.5
T = TypeVar("T")


class Progress(Protocol):
    """(phase, done bytes, total bytes, file) and more by keyword; see fetch()."""

    def __call__(self, phase: str, done: int, total: int, file: str, **more: object) -> None: ...


@dataclass
class Watch:
    """Who is told, who may stop it; `came`: new bytes so far."""

    progress: Progress
    check_stopped: Callable[[], None]
    note: Callable[[str], None]
    limits: Limits
    came: int = field(default=0)


def needed_files(found: hubs.Listing) -> list[hubs.HubFile]:
    """What of a listing is brought, small files first. Raises ApplianceError for what can't be used here."""
    by_name = {file.name: file for file in found.files}
    chosen = choose(by_name) if found.kind == "model" else choose_data(by_name)
    return sorted((by_name[name] for name in chosen), key=lambda file: (file.size, file.name))


def bring(found: hubs.Listing, wanted: list[hubs.HubFile], folder: Path, watch: Watch) -> dict[str, str]:
    """Bring the files and return name to sha256. Raises HubFailure, ApplianceError; what came so far is kept."""
    journal = Journal(folder)
    targets = [Target(folder, file, found.revision, journal) for file in wanted]
    total = sum(file.size for file in wanted)
    here = sum(target.have.total for target in targets)
    if here:
        watch.note(_("Goes on at {percent} %.").format(percent=100 * here // max(1, total)))

    def show(state: State) -> None:
        more = {
            "file_done": state.file_done,
            "file_total": state.file_total,
            "connections": state.connections,
            "retries": state.retries,
            "waiting": state.waiting,
        }
        if state.done < total or not total:
            watch.progress("downloading", state.done, total, state.file, speed=round(state.rate), **more)
        else:
            watch.progress("verifying", state.hashed, total, state.file, **more)

    crew = Crew(Source(found, watch.limits), targets, watch.limits, watch.note)
    try:
        crew.run(watch.check_stopped, show)
    finally:
        watch.came += crew.new_bytes
        for target in targets:
            target.close()
        journal.close()
    if crew.retries:
        watch.note(_("Interruptions that were mended on the way: {count}.").format(count=crew.retries))
    return {target.name: target.sha256 for target in targets}


def choose_hub(
    reference: str,
    revision: str | None,
    limits: Limits,
    check_stopped: Callable[[], None],
    note: Callable[[str], None],
    kind: hubs.Kind = "model",
) -> hubs.Listing:
    """Ask both hubs at once, and measure both where both have it and the model is large. Says which one it is and why.

    The preferred hub (ModelScope for Chinese, else Hugging Face) is taken unless the other one is clearly faster.
    Raises ApplianceError with both reasons when neither has the model.
    """
    preferred = "modelscope" if language() == "zh" else "huggingface"
    got, failed = _both_listings(reference, revision, check_stopped, kind)
    if not got:
        raise _neither(reference, failed)
    chosen = preferred if preferred in got else next(iter(got))
    if len(got) == 2 and sum(file.size for file in needed_files(got[chosen])) >= limits.probe:
        speeds = {hub: speed for hub, speed in _probe(got, limits, check_stopped).items() if speed}
        if speeds:
            other = hubs.other(chosen)
            if speeds.get(other, 0.0) > speeds.get(chosen, 0.0) * _MUCH_FASTER:
                chosen = other
            told = {hub: f"{output.size(speeds[hub])}/s" if hub in speeds else "–" for hub in got}
            sentence = _("From {hub}: {speed}; {other}: {other_speed}")
            other = hubs.other(chosen)
            names = {"hub": hubs.NAMES[chosen], "other": hubs.NAMES[other]}
            note(sentence.format(speed=told[chosen], other_speed=told[other], **names))
            return got[chosen]
    if chosen == preferred:
        reason = _("it has the model and is the first choice for your language")
    elif preferred in failed:
        reason = failed[preferred].what
    else:
        reason = _("{hub} did not answer in time").format(hub=hubs.NAMES[preferred])
    note(_("From {hub}: {reason}").format(hub=hubs.NAMES[chosen], reason=reason))
    return got[chosen]


def waited(work: Callable[[], T], check_stopped: Callable[[], None]) -> T:
    """Run a client's blocking call beside this thread, so that a stalled hub does not hide a request to stop.

    The thread is a daemon: after a stop the worker ends and takes it along.
    """
    result: list[T] = []
    failure: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # handed to the waiting thread
            failure.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    while not ended.wait(_LOOK_SECONDS):
        check_stopped()
    if failure:
        raise failure[0]
    return result[0]


def _both_listings(
    reference: str, revision: str | None, check_stopped: Callable[[], None], kind: hubs.Kind
) -> tuple[dict[str, hubs.Listing], dict[str, ApplianceError]]:
    answers: queue.SimpleQueue[tuple[str, hubs.Listing | ApplianceError]] = queue.SimpleQueue()

    def ask(hub: str) -> None:
        try:
            found = hubs.listing(hub, reference, revision, kind)
            needed_files(found)  # what can't be used here is no answer: the other hub may have it in another form
            answers.put((hub, found))
        except ApplianceError as error:
            answers.put((hub, error))

    for hub in hubs.NAMES:
        threading.Thread(target=ask, args=(hub,), daemon=True).start()
    got: dict[str, hubs.Listing] = {}
    failed: dict[str, ApplianceError] = {}
    deadline = time.monotonic() + _ANSWER_SECONDS
    while len(got) + len(failed) < len(hubs.NAMES) and time.monotonic() < deadline:
        check_stopped()
        try:
            hub, value = answers.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            continue
        if isinstance(value, hubs.Listing):
            got[hub] = value
            deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
        else:
            failed[hub] = value
    return got, failed


def _probe(got: dict[str, hubs.Listing], limits: Limits, check_stopped: Callable[[], None]) -> dict[str, float]:
    """Bytes a second of a small part of the largest file from each hub, both at once; 0 for one that gives none."""
    speeds = dict.fromkeys(got, 0.0)

    def measure(hub: str) -> None:
        began, came = time.monotonic(), 0
        source = Source(got[hub], limits)
        try:
            file = needed_files(got[hub])[-1]
            answer = source.open(file, 0, min(file.size, _PROBE_BYTES), None)
            while time.monotonic() - began < _PROBE_SECONDS and (block := answer.read(65536)):
                came += len(block)
                speeds[hub] = came / max(1e-3, time.monotonic() - began)
            answer.end(False)
        except Exception:  # a hub that can't is the slower one
            speeds[hub] = 0.0
        finally:
            source.close()

    threads = [threading.Thread(target=measure, args=(hub,), daemon=True) for hub in got]
    for thread in threads:
        thread.start()
    began, first = time.monotonic(), 0.0
    while any(thread.is_alive() for thread in threads):
        check_stopped()
        time.sleep(0.01)
        passed = time.monotonic() - began
        if not first and any(speeds[hub] and not thread.is_alive() for hub, thread in zip(got, threads, strict=True)):
            first = passed
        # Twice the time of the faster one is enough to know the slower.
        if passed > 2 * _PROBE_SECONDS or (first and passed > max(0.2, 2 * first)):
            break
    return dict(speeds)


def _neither(reference: str, failed: dict[str, ApplianceError]) -> ApplianceError:
    names = hubs.NAMES
    unusable = [error for error in failed.values() if not isinstance(error, hubs.HubFailure)]
    if len(unusable) == 1 and len(failed) == len(names):
        return unusable[0]  # one hub has it, and this is what is wrong with it
    told = [f"{names[hub]}: {error.what} {error.why}".strip() for hub, error in failed.items()]
    told += [_("{hub} did not answer in time").format(hub=names[hub]) for hub in names if hub not in failed]
    steps = {error.next_step for error in failed.values() if error.next_step}
    return ApplianceError(
        _("{model} can't be had from either hub.").format(model=reference),
        "",
        steps.pop()
        if len(steps) == 1 and len(failed) == len(names)
        else _("Check the name (owner/name) and the network; or bring the model as a folder or an archive."),
        told,
        [hub for error in failed.values() for hub in error.token_for],
    )
