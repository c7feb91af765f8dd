"""A job's progress in the terminal: bar, speed, loss, time left. It only reads; closing it never ends the job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from appliance import output
from appliance.errors import ApplianceError
from appliance.jobs.folder import Job, State, events, follow, serving
from appliance.locale import _

if TYPE_CHECKING:
    from rich.console import RenderableType

_PLAIN_SECONDS = 5.0  # in a pipe: at most a line this often
# The screen that the picture must fit, and the lines of it that are not the curve's.
_WIDEST, _TALLEST, _OTHER_LINES = 78, 10, 9


def phase_word(phase: str) -> str:
    """A phase's name for a person."""
    return {
        "loading": _("loading"),
        "pictures": _("looking at the pictures"),
        "training": _("training"),
        "saving": _("saving"),
        "merging": _("merging"),
        "quantising": _("quantising, layer by layer"),
        "measuring": _("measuring the original"),
        "measuring_again": _("measuring the quantised one"),
        "verifying": _("verifying"),
        "checking": _("checking the base"),
        "comparing": _("comparing answers"),
        "starting": _("starting"),
        "downloading": _("downloading"),
        "download": _("downloading"),
        "installing": _("installing"),
        "copying": _("copying"),
        "exporting": _("exporting"),
        "sending": _("sending"),
        "unpacking": _("unpacking"),
        "teaching": _("teaching"),
        "tokenizer": _("making the tokenizer"),
    }.get(phase, phase)


class Picture:
    """What is known of a running job, drawn from its events."""

    def __init__(self, job: Job):
        self.job = job
        self.state: State | None = None
        self.progress: dict[str, Any] | None = None
        self.losses: list[tuple[int, float]] = []  # (step, loss)
        self.held_out: list[tuple[int, float]] = []
        self.measured: dict[str, Any] = {}  # the last value of everything that is measured
        self.ready: dict[str, Any] | None = None
        self.phase = ""
        self.said: list[tuple[str, str]] = []  # (kind, sentence) not shown yet
        self.began = time.monotonic()

    def add(self, state: State, found: Iterable[dict[str, Any]]) -> None:
        """Take in a state and new events."""
        self.state = state
        for event in found:
            kind = event.get("kind")
            if kind == "progress":
                self.progress = event
            elif kind == "metric":
                self._measure(event)
            elif kind in ("note", "warning"):
                self.said.append((str(kind), str(event.get("text", ""))))
            elif kind == "ready" and event.get("attempt") == state.attempt:  # not that of an earlier try
                self.ready = event
            elif kind == "phase":
                self.phase = str(event.get("text", ""))
            elif kind == "waiting":
                self.said.append(
                    ("note", _("Waits until {holder} lets go of the card.").format(holder=event.get("holder")))
                )

    def _measure(self, event: dict[str, Any]) -> None:
        step = event.get("step")
        for name, series in (("loss", self.losses), ("held_out_loss", self.held_out)):
            value = event.get(name)
            if isinstance(value, float) and math.isfinite(value):
                step = step if isinstance(step, int) else len(series) + 1
                while series and series[-1][0] >= step:  # of an earlier try, which went further
                    series.pop()
                series.append((step, value))
        self.measured |= {name: value for name, value in event.items() if isinstance(value, (int, float))}

    def take_said(self) -> list[tuple[str, str]]:
        """The sentences that came since the last call."""
        said, self.said = self.said, []
        return said

    def figures(self) -> str:
        """Amount, speed, loss and time left in one line."""
        event = self.progress
        if event is None:
            return ""
        parts = []
        if event.get("unit") == "B":
            parts.append(f"{output.size(event['done'])} / {output.size(event['total'])}")
            if event.get("speed"):
                parts.append(f"{output.size(event['speed'])}/s")
        elif event.get("unit"):
            parts.append(f"{event['done']:.0f}/{event['total']:.0f}")
            if event.get("speed") and event["unit"] not in ("layers", "rows"):
                parts.append(_("{n:.1f} steps/s").format(n=event["speed"]))
        if self.losses and event.get("phase") in ("training", "teaching"):
            parts.append(_("loss {value:.3f}").format(value=self.losses[-1][1]))
        if event.get("left_s") is not None and event["done"] < event["total"]:
            parts.append(_("{time} left").format(time=output.duration(event["left_s"])))
        return " · ".join(parts)

    def transfer(self) -> list[str]:
        """Of a download: the largest file on its way, the connections, what was mended, what it waits for."""
        event = self.progress or {}
        lines = []
        if event.get("phase") == "downloading" and event.get("file_total"):
            done, total = event["file_done"], event["file_total"]
            parts = [f"{event['file']} {done / total:.0%} ({output.size(done)} / {output.size(total)})"]
            if event.get("connections"):
                parts.append(_("connections: {count}").format(count=event["connections"]))
            if event.get("retries"):
                parts.append(_("interruptions mended: {count}").format(count=event["retries"]))
            lines.append(" · ".join(parts))
        if event.get("waiting"):
            lines.append(str(event["waiting"]))
        return lines

    def words(self) -> str:
        """What it does now."""
        if self.state is not None and self.state.state == "queued":
            waiting = self.state.waiting_for
            return _("waiting for {holder}").format(holder=waiting) if waiting else _("starting")
        if self.progress is None:
            return _("starting")
        return self.phase or phase_word(self.progress["phase"])

    def share(self) -> float:
        """How much of the phase is done, 0 to 1."""
        event = self.progress
        return min(1.0, event["done"] / event["total"]) if event and event.get("total") else 0.0

    def curve(self) -> str:
        """The loss so far as a row of small bars."""
        from appliance.jobs import plot

        return plot.spark([value for _step, value in self.losses])

    def measures(self) -> str:
        """Held-out loss, learning rate, gradient, tokens a second and memory in one line."""
        known, parts = self.measured, []
        if self.held_out:
            best = min(value for _step, value in self.held_out)
            parts.append(_("● held-out {value:.3f} (best {best:.3f})").format(value=self.held_out[-1][1], best=best))
        if "reward" in known:
            parts.append(_("reward {value:.2f}").format(value=known["reward"]))
        if "learning_rate" in known:
            parts.append(_("rate {value:.1e}").format(value=known["learning_rate"]))
        if "grad_norm" in known:
            parts.append(_("gradient {value:.2f}").format(value=known["grad_norm"]))
        if "tokens_s" in known:
            parts.append(_("{n:,.0f} tokens/s").format(n=known["tokens_s"]))
        if "memory_gib" in known:
            parts.append(_("memory {size}").format(size=output.gib(known["memory_gib"])))
        return " · ".join(parts)

    def __rich__(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        elapsed = output.duration(time.monotonic() - self.began)
        head = Table.grid(padding=(0, 1))
        head.add_row(Spinner("dots"), Text(self.words()), Text(elapsed, "dim"))
        grid.add_row(head)
        if self.progress is not None:
            bar = Table.grid(padding=(0, 1))
            bar.add_row(ProgressBar(total=1.0, completed=self.share(), width=30), Text(f"{self.share():4.0%}"))
            grid.add_row(bar)
            grid.add_row(Text(self.figures(), "cyan"))
            for line in self.transfer():
                grid.add_row(Text(line, "dim"))
        if len(self.losses) > 1:
            from appliance.jobs import plot

            screen = output.console().size
            total = int((self.progress or {}).get("total") or 0)
            grid.add_row(
                plot.curve(
                    self.losses,
                    self.held_out,
                    last=total if (self.progress or {}).get("unit") == "step" else self.losses[-1][0],
                    width=min(_WIDEST, screen.width - 2),
                    height=min(_TALLEST, screen.height - _OTHER_LINES),
                )
            )
            grid.add_row(Text(self.measures(), "dim"))
        return grid


def watch(job: Job, until_ready: bool = False) -> State:
    """Show a job until it has ended (or, for serve, answers). KeyboardInterrupt passes through: the job goes on."""
    return _live(job, until_ready) if output.console().is_terminal else _plain(job, until_ready)


def _say(picture: Picture, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    for kind, sentence in picture.take_said():
        (warn if kind == "warning" else say)(sentence)


def _live(job: Job, until_ready: bool) -> State:
    from rich.live import Live

    picture = Picture(job)
    with output.moving(Live(picture, console=output.console(), refresh_per_second=8, transient=True)):
        for state, found in follow(job):
            picture.add(state, found)
            _say(picture, output.note, output.warn)
            if until_ready and picture.ready:
                return state
    assert picture.state is not None
    return picture.state


def _plain(job: Job, until_ready: bool) -> State:
    picture, shown, last = Picture(job), "", 0.0
    for state, found in follow(job):
        picture.add(state, found)
        _say(picture, output.note, output.warn)
        if until_ready and picture.ready:
            return state
        line = " · ".join([f"{picture.words()} {picture.share():.0%} {picture.figures()}".strip(), *picture.transfer()])
        ended = picture.share() >= 1.0 and picture.words() != shown
        if picture.progress and (ended or time.monotonic() - last > _PLAIN_SECONDS):
            output.say(line)
            shown, last = picture.words(), time.monotonic()
    assert picture.state is not None
    return picture.state


def failure(job: Job, state: State) -> ApplianceError:
    """Why a job failed, as its worker said it."""
    error = ApplianceError.from_dict(state.error or {})
    if not error.what:
        error.what = _("The job {id} was stopped.").format(id=job.id)
        error.next_step = _("Go on with it: appliance jobs resume {id}").format(id=job.id)
    for verb in ("resume", "logs", "show"):  # not "remove": there ID means any other
        error.next_step = error.next_step.replace(f"jobs {verb} ID", f"jobs {verb} {job.id}")
    error.next_step = error.next_step or _("See its last words: appliance jobs logs {id}").format(id=job.id)
    return error


def summary(job: Job) -> list[tuple[str, str]]:
    """A job in a few (label, value) pairs."""
    state = job.state()
    rows = [(_("Job"), job.id), (_("State"), state.word)]
    if state.waiting_for:
        rows.append((_("Waits for"), state.waiting_for))
    if state.state == "running" and state.heartbeat and time.time() - state.heartbeat > 60:
        rows.append(
            (_("Sign of life"), _("none for {time}").format(time=output.duration(time.time() - state.heartbeat)))
        )
    picture = Picture(job)
    found, _offset = events(job)
    picture.add(state, found)
    # Of a server that answers or has ended, how far its start once was says nothing.
    begun = state.active and not picture.ready if job.kind == "serve" else state.state != "done"
    if picture.progress is not None and begun:
        rows.append((_("Progress"), f"{picture.words()} {picture.share():.0%}  {picture.figures()}"))
    if picture.curve():
        rows.append((_("Loss"), f"{picture.curve()}  {picture.losses[0][1]:.3f} → {picture.losses[-1][1]:.3f}"))
    result = job.result or {}
    model = _("Base model") if job.kind == "finetune" else _("Model")
    for label, key in (
        (model, "model"),
        (_("Adapter"), "adapter"),
        (_("Made"), "made"),
        (_("Written to"), "exported"),
        (_("At"), "page"),
        (_("Written to"), "environment"),
    ):
        if result.get(key):
            rows.append((label, str(result[key])))
    if result.get("verdict"):
        rows.append((_("Verdict"), str(result["verdict"])))
    if (report := job.folder / "report.html").is_file():
        rows.append((_("Report"), str(report)))
    if result.get("models"):
        rows.append((_("Whole"), ", ".join(result["models"])))
    if proof := result.get("proof"):
        rows.append((_("Compared"), proof.get("sentence") or _("no: {why}").format(why=proof["why"])))
    if result.get("perplexity"):
        rows.append((_("Measured"), str(result["sentence"])))
        size = result["size"]
        rows.append(
            (
                _("Weights"),
                _("{after} instead of {before}").format(
                    after=output.size(size["after"]), before=output.size(size["before"])
                ),
            )
        )
    if result.get("memory"):
        memory = result["memory"]
        rows.append(
            (
                _("Memory"),
                _("predicted {p} GiB, measured {m} GiB").format(p=memory["predicted_gib"], m=memory["measured_gib"]),
            )
        )
    if result.get("seconds"):
        rows.append((_("Time"), output.duration(result["seconds"])))
    if job.kind == "serve" and state.active:
        at = serving(job)
        if at["address"]:
            rows += [
                (_("Address"), at["address"]),
                (_("Model name"), at["model"]),
                (_("Key file"), at["key_file"] or "-"),
            ]
            rows += [(_("Chat page"), at["page"])] if at["page"] else []
    rows.append((_("Folder"), str(job.folder)))
    return rows


def how_to_ask(address: str, model: str, key_file: str | None, question: str) -> tuple[str, str]:
    """A curl line and a Python snippet that work when pasted. The key is read from its file, never printed."""
    import json
    import shlex

    body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}]}, ensure_ascii=False)
    # The first key of the file, which may hold several, a line each, as `key` or `name:key`.
    key = f""" -H "Authorization: Bearer $(sed 's/.*://;q' {shlex.quote(key_file)})\"""" if key_file else ""
    curl = f"curl -s {address}/chat/completions{key} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    value = f"open({key_file!r}).readline().strip().split(':')[-1]" if key_file else '"none"'
    python = (
        "from openai import OpenAI\n"
        f"client = OpenAI(base_url={address!r}, api_key={value})\n"
        f"messages = [{{'role': 'user', 'content': {question!r}}}]\n"
        f"answer = client.chat.completions.create(model={model!r}, messages=messages)\n"
        "print(answer.choices[0].message.content)"
    )
    return curl, python
