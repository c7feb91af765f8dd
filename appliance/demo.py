"""`appliance demo`: the whole path once, for real, on a tiny model made on the spot. No hub, no GPU.

Every step is the same job that the commands run; nothing is faked, and the last answers must be what the rows taught.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from appliance import data, demo_data, output, questions, settings, show, show_data
from appliance.engines import keys
from appliance.errors import ApplianceError
from appliance.hardware import probe
from appliance.hub import manifest
from appliance.jobs import control, prepare
from appliance.jobs.folder import Job, State, serving
from appliance.jobs.watch import failure, how_to_ask, watch
from appliance.locale import _
from appliance.planning.headline import headline

_BASE = "demo-base"


def demo(keep: bool = False, port: int = 8000) -> dict[str, Any]:
    """Walk the path and show it. Returns the answer for --json. Raises ApplianceError when a step fails."""
    began = time.monotonic()
    hardware = probe(settings.home())
    _step(1, _("This machine"))
    show.hardware(hardware, headline(hardware))

    _step(2, _("A tiny base model and a sheet of rows, made on the spot"))
    base = _base_model()
    sheet = settings.datasets_folder() / "demo.csv"
    demo_data.write_sheet(sheet)
    show_data.report(data.check(sheet))

    _step(3, _("What the base model answers"))
    before = _serve_and_ask(str(base), "demo-base", port)

    _step(4, _("Fine-tune"))
    tuning = _do(prepare.finetune(str(base), str(sheet), wish=dict(demo_data.FINETUNE), name="demo", held_out=0.0))

    _step(5, _("Merge"))
    merging = _do(prepare.merge(tuning.id))
    merged = str((merging.result or {})["model"])

    _step(6, _("Serve"))
    server = _started(prepare.serve(merged, name="demo", port=port))
    try:
        after = _ask(server)
        right = [question.expected(answer) for question, answer in zip(demo_data.QUESTIONS, after, strict=True)]
        _compare(before, after, right)
        seconds = round(time.monotonic() - began, 1)
        if not all(right):
            raise ApplianceError(
                _("The model did not learn what the rows teach."),
                _("{n} of {all} answers are wrong.").format(n=right.count(False), all=len(right)),
                _("Please report this, with the folder {folder}.").format(folder=tuning.folder),
            )
        output.good(_("From nothing to an answering model in {time}.").format(time=output.duration(seconds)))
        at = serving(server)
        _how_to_go_on(server, keep)
    except BaseException:
        control.stop(server)
        raise
    if not keep:
        control.stop(server)
    return {
        "seconds": seconds,
        "questions": [question.text for question in demo_data.QUESTIONS],
        "before": before,
        "after": after,
        "learned": all(right),
        "address": at["address"] if keep else None,
        "key_file": at["key_file"],
        "model": at["model"],
        "jobs": {"finetune": tuning.id, "merge": merging.id, "serve": server.id},
        "folder": merged,
    }


def _step(number: int, title: str) -> None:
    output.say()
    output.say(f"{number}/6  {title}", "bold cyan")


def _do(draft: control.Draft) -> Job:
    show.facts(draft)
    job = control.submit(draft)
    state = _watched(job)
    if state.state != "done":
        raise failure(job, state)
    output.good(_("{id} done").format(id=job.id))
    return job


def _base_model() -> Path:
    """The base model: from an earlier demo, or taught now."""
    folder = settings.models_folder() / _BASE
    if manifest.read(folder) is None:
        _do(
            control.Draft(
                kind="demo-model",
                name=_BASE,
                spec={"to": str(folder), "seed": 0},
                environment="train",
                facts=[(_("What"), _("Teach a model of under a million weights some small talk."))],
                disk_gib=0.1,
            )
        )
    return folder


def _started(draft: control.Draft) -> Job:
    show.facts(draft)
    job = control.submit(draft)
    state = _watched(job, until_ready=True)
    if not state.active:
        raise failure(job, state)
    return job


def _watched(job: Job, until_ready: bool = False) -> State:
    """Watch a step; a demo that is left half-way leaves nothing running."""
    try:
        return watch(job, until_ready)
    except BaseException:
        control.stop(job)
        raise


def _serve_and_ask(model: str, name: str, port: int) -> list[str]:
    server = _started(prepare.serve(model, name=name, port=port))
    try:
        return _ask(server)
    finally:
        control.stop(server)


def _ask(server: Job) -> list[str]:
    """The three questions, put with the official client."""
    from openai import DefaultHttpxClient, OpenAI, OpenAIError

    at = serving(server)
    wire = DefaultHttpxClient(trust_env=False)  # no proxy between this machine and its own server
    client = OpenAI(
        http_client=wire, base_url=at["address"], api_key=keys.read_key(Path(at["key_file"])), max_retries=0, timeout=60
    )
    answers = []
    for question in demo_data.QUESTIONS:
        try:
            answer = client.chat.completions.create(
                model=at["model"],
                messages=[{"role": "user", "content": question.text}],
                max_tokens=96,
                temperature=0,
            )
        except OpenAIError as error:
            raise ApplianceError(
                _("The server did not answer a question."),
                str(error),
                _("See its last words: appliance jobs logs {id}").format(id=server.id),
            ) from error
        answers.append((answer.choices[0].message.content or "").strip())
    return answers


def _compare(before: list[str], after: list[str], right: list[bool]) -> None:
    rows = [
        (question.text, old or "-", ("✓ " if good else "✗ ") + new)
        for question, old, new, good in zip(demo_data.QUESTIONS, before, after, right, strict=True)
    ]
    output.table([_("Question"), _("Before"), _("After")], rows)


def _how_to_go_on(server: Job, keep: bool) -> None:
    at = serving(server)
    curl, python = how_to_ask(at["address"], at["model"], at["key_file"], demo_data.QUESTIONS[0].text)
    output.pairs([(_("Address"), at["address"]), (_("Model name"), at["model"]), (_("Key file"), at["key_file"])])
    output.say(_("With curl:"), "bold")
    output.paste(curl)
    output.say(_("With Python (pip install openai):"), "bold")
    output.paste(python)
    if keep:
        output.note(_("The server goes on. Stop it: appliance jobs stop {id}").format(id=server.id))
    elif sys.stdin.isatty() and output.console().is_terminal and not output.is_json():
        questions.wait_for_enter(_("The server answers until you press Enter."))
    else:
        output.note(_("The server ends now; `appliance demo --keep` leaves it running."))
