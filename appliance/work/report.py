"""The report of a fine-tune: one HTML file that opens with no network, for the person who pays for the card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from appliance import files
from appliance.locale import _, language
from appliance.planning import words

NAME = "report.html"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 240, 52, 28, 12
_MOST_POINTS = 600  # more can't be seen and only make the file heavy
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5c6b7a;--line:#d8dfe6;--paper:#fff;--one:#1668c7;--two:#d4531c;
--good:#0a7f45;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf2;--soft:#9aa8b5;--line:#35424e;--paper:#12181e;--one:#6cb1ff;
--two:#ff9b6a;--good:#5fd39a;--bad:#ff8a80}}
body{font:16px/1.55 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;color:var(--ink);
background:var(--paper);max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
.soft,figcaption{color:var(--soft)}.verdict{font-size:1.15rem;border-left:.3rem solid var(--good);padding:.4rem .9rem}
.verdict.bad{border-color:var(--bad)}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line)}
td.answer{white-space:pre-wrap;overflow-wrap:anywhere;width:40%}figure{margin:0}svg{width:100%;height:auto}
svg text{font-size:11px;fill:var(--soft)}svg .grid{stroke:var(--line)}
svg .one{stroke:var(--one)}svg .two{stroke:var(--two)}svg path{fill:none;stroke-width:1.6}
"""


def write(folder: Path, described: dict[str, Any], result: dict[str, Any]) -> Path:
    """Write report.html into a job's folder. `described`: job.json; `result`: what the fine-tune returns."""
    plan = described.get("plan") or {}
    metrics = _metrics(folder / "events.jsonl")
    name = Path(result["model"]).name
    title = _("What {model} learned").format(model=name)
    body = [
        f"<h1>{_e(title)}</h1>",
        f"<p class='soft'>{_e(_about(described, result))}</p>",
        f"<p class='verdict{'' if result['good'] else ' bad'}'>{_e(result['verdict'])}</p>",
        _curves(metrics),
        _answers(result.get("answers") or []),
        _choices(plan),
        _memory(result.get("memory") or {}),
        _versions(result),
    ]
    page = (
        f"<!doctype html><html lang='{language()}'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_e(name)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    files.write_text(folder / NAME, page)
    return folder / NAME


def _e(value: object) -> str:
    return escape(str(value))


def _heading(text: str) -> str:
    """Sentences are never looked up within an f-string: there they are not found for the catalogue."""
    return f"<h2>{_e(text)}</h2>"


def _about(described: dict[str, Any], result: dict[str, Any]) -> str:
    data = (described.get("spec") or {}).get("data") or {}
    return _("{rows} rows from {file}, {steps} steps in {minutes:.1f} minutes, on {day}").format(
        rows=result.get("rows"),
        file=Path(str(data.get("file") or "?")).name,
        steps=result.get("steps"),
        minutes=(result.get("train_seconds") or 0) / 60,
        day=str(described.get("created") or "")[:10],
    )


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The values of each step; of a step that was done again after a resume, the later ones."""
    found: dict[int, dict[str, Any]] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and event.get("kind") == "metric" and isinstance(event.get("step"), int):
                    found.setdefault(event["step"], {}).update(event)
    except OSError:
        return []
    return [found[step] for step in sorted(found)]


def series(metrics: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) where the value was measured and is a number."""
    return [
        (entry["step"], float(entry[name]))
        for entry in metrics
        if isinstance(entry.get(name), int | float) and math.isfinite(entry[name])
    ]


def _curves(metrics: list[dict[str, Any]]) -> str:
    loss, held = series(metrics, "loss"), series(metrics, "held_out_loss")
    if len(loss) < 2:
        return ""
    caption = _("How far the answers were from the rows', step by step: lower is better.")
    if held:
        caption += " " + _("The dots are rows that it was not taught.")
    drawn = f"<figure>{chart(loss, held)}<figcaption>{_e(caption)}</figcaption></figure>"
    return _heading(_("Loss")) + drawn + _small(metrics)


def _small(metrics: list[dict[str, Any]]) -> str:
    drawn = ""
    for name, title in (
        ("reward", _("Reward of the answers that were tried, on average")),
        ("preferred", _("Share of pairs in which the better answer is preferred")),
        ("learning_rate", _("Learning rate")),
        ("grad_norm", _("Gradient norm")),
    ):
        values = series(metrics, name)
        if len(values) > 1:
            drawn += f"<details><summary>{_e(title)}</summary>{chart(values)}</details>"
    return drawn


def chart(line: Sequence[tuple[int, float]], dots: Sequence[tuple[int, float]] = ()) -> str:
    """A line and dots over steps as an SVG element; five labelled values on the left, the steps below."""
    values = [value for _step, value in (*line, *dots)]
    steps = [step for step, _value in (*line, *dots)]
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    first, width = min(steps), (max(steps) - min(steps)) or 1

    def at(step: int, value: float) -> tuple[float, float]:
        across = _LEFT + (step - first) / width * (_WIDTH - _LEFT - 10)
        return across, _HEIGHT - _BOTTOM - (value - low) / span * (_HEIGHT - _BOTTOM - _TOP)

    parts = [f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img'>"]
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = low + share * span
        _across, down = at(first, value)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - 10}' y1='{down:.1f}' y2='{down:.1f}'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{down + 4:.1f}' text-anchor='end'>{value:.3g}</text>")
    for share in (0, 0.5, 1):
        step = round(first + share * width)
        across, _down = at(step, low)
        anchor = ("start", "middle", "end")[round(share * 2)]
        parts.append(f"<text x='{across:.1f}' y='{_HEIGHT - 8}' text-anchor='{anchor}'>{step}</text>")
    every = max(1, len(line) // _MOST_POINTS)
    shown = [*line[::every], *([line[-1]] if (len(line) - 1) % every else [])]
    points = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in shown)
    parts.append(f"<path class='one' d='M{points.replace(' ', ' L')}'/>")
    if len(dots) > 1:
        points = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in dots)
        parts.append(f"<path class='two' d='M{points.replace(' ', ' L')}'/>")
    for point in dots:
        across, down = at(*point)
        parts.append(f"<circle class='two' cx='{across:.1f}' cy='{down:.1f}' r='3' fill='none'/>")
    return "".join(parts) + "</svg>"


def _answers(answers: list[dict[str, Any]]) -> str:
    if not answers:
        return ""
    head = "".join(f"<th>{_e(word)}</th>" for word in (_("Question"), _("Before"), _("After")))
    rows = "".join(
        f"<tr><td>{_e(one['question'])}</td><td class='answer soft'>{_e(one['before'])}</td>"
        f"<td class='answer'>{_e(one['after'])}{'' if one.get('stopped', True) else ' …'}</td></tr>"
        for one in answers
    )
    return _heading(_("Answers before and after")) + f"<table><tr>{head}</tr>{rows}</table>"


def _choices(plan: dict[str, Any]) -> str:
    if not plan.get("reasons"):
        return ""
    rows = "".join(f"<tr><td>{_e(label)}</td><td>{_e(text)}</td></tr>" for label, text in words.rows(plan))
    return _heading(_("What was chosen, and why")) + f"<table>{rows}</table>"


def _memory(memory: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_e(label)}</td><td>{memory[name]:.2f} GiB</td></tr>"
        for name, label in (("predicted_gib", _("Predicted")), ("measured_gib", _("Measured")))
        if isinstance(memory.get(name), int | float)
    )
    return _heading(_("Memory")) + f"<table>{rows}</table>" if rows else ""


def _versions(result: dict[str, Any]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in sorted((result.get("versions") or {}).items()))
    return f"<p class='soft'>{_e(named)}</p>" if named else ""
