"""A data file in the menu: what it holds, and which of two readings is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import output, questions, show_data
from appliance.locale import _

_MOST = 2  # questions about one file
_WIDE = 24  # characters of a cell
_MOST_NAMES = 8
_BY_HAND = "by hand"


def look_at(file: str) -> dict[str, Any]:
    """Ask what the file leaves open, show what is in it; the words (sheet, map, task) that read it like this."""
    from appliance import data

    path = Path(file).expanduser().absolute()
    chosen = _ask(path)
    with output.waiting(_("looking at the rows")):
        report = data.check(path, mapping=chosen.get("map"), task=chosen.get("task"), sheet=chosen.get("sheet"))
    show_data.report(report)
    return chosen


def _ask(path: Path) -> dict[str, Any]:
    from appliance.data import readings
    from appliance.data.stream import open_stream

    chosen: dict[str, Any] = {}
    asked: set[str] = set()
    while len(asked) < _MOST:
        with output.waiting(_("looking at the rows")):
            stream = open_stream(path, mapping=chosen.get("map"), task=chosen.get("task"), sheet=chosen.get("sheet"))
            left = [q for q in readings.questions(stream, chosen.get("task")) if q.key not in asked]
            rows = readings.first_rows(stream) if left else []
        if not left:
            break
        question = left[0]
        asked.add(question.key)
        _show(rows)
        answer = questions.choose(*_worded(question))
        if answer == _BY_HAND:
            answer = {"map": _by_hand(question.choices)}
        chosen.update(answer)
    return chosen


def _worded(question: Any) -> tuple[str, list[tuple[str, Any]]]:
    """The question for a person, and its answers."""
    if question.key == "sheet":
        return _("Which sheet has the rows? These are the first of {sheet}.").format(sheet=question.chosen), [
            (way["sheet"], way) for way in sorted(question.ways, key=lambda way: way["sheet"] != question.chosen)
        ]
    if question.key == "columns":
        ways: list[tuple[str, Any]] = [(_columns(way["map"]), way) for way in question.ways]
        return _("Which column asks, and which one answers?"), [*ways, (_("other columns"), _BY_HAND)]
    if question.key == "speaker":
        named = [(name, way) for name, way in zip(question.choices, question.ways, strict=False)]
        return _("This is a saved chat. Whose answers should the model learn?"), [
            *named[:_MOST_NAMES], (_("nobody's: plain text"), {})
        ]  # fmt: skip
    if question.key == "restated":
        return question.sentence, [(_("yes, like this"), {}), (_("other columns"), _BY_HAND)]
    return _("Does one column say whether an answer is good or bad?"), [
        (_("yes: learn from good and bad answers"), question.ways[0]),
        (_("no: learn all answers"), question.ways[1]),
    ]


def _columns(mapping: dict[str, str]) -> str:
    if "answer" not in mapping:
        return _("plain text: {text}").format(text=mapping.get("text"))
    return _("question: {question} → answer: {answer}").format(**mapping)


def _by_hand(columns: list[str]) -> dict[str, str]:
    question = questions.choose(_("Which column asks?"), [(name, name) for name in columns])
    rest = [(name, name) for name in columns if name != question]
    return {"question": question, "answer": questions.choose(_("Which column answers?"), rest)}


def _show(rows: list[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))[:5]
    output.say()
    output.table([_short(name) for name in columns], [[_short(row.get(name, "")) for name in columns] for row in rows])


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDE else text[: _WIDE - 1] + "…"
