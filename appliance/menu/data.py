"""Data: look at a file, clean it, see rows as a model does, find public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import output, questions, show_data
from appliance.locale import _
from appliance.menu import pick

_SHOWN = 3  # rows beside a question
_CELL = 200  # characters of each


def show(hardware: Any) -> None:
    """What to do with which file."""
    chosen = questions.choose(
        _("What about your data?"),
        [
            (_("check: is this file good to train on?"), _check),
            (_("clean: write a better copy"), _clean),
            (_("preview: see rows as a model will"), _preview),
            (_("public data sets"), _public),
        ],
    )
    chosen()


def look_at(file: str) -> dict[str, Any]:
    """Show what is in a file, and ask where it can be read in two ways.

    Returns how it is to be read: mapping, sheet and task, those that were asked for.
    """
    from appliance import data

    reading: dict[str, Any] = {}
    asked: set[str] = set()
    while True:
        with output.waiting(_("looking at the rows")):
            report = data.check(Path(file).expanduser().absolute(), **reading)
        show_data.report(report)
        changed = False
        for question in report.questions:
            if question.key in asked:
                continue
            asked.add(question.key)
            answer = _asked(question, report)
            if answer:
                reading |= answer
                changed = True
                break
        if not changed:
            return reading


def _asked(question: Any, report: Any) -> dict[str, Any]:
    """What a person answers about one of several readings; {} where the one that was taken is right."""
    output.say()
    for row in report.sample[:_SHOWN]:
        output.pairs([(one["role"], " ".join(one["content"].split())[:_CELL]) for one in _messages(row)])
        output.say()
    if question.key == "sheet":
        sheet = questions.choose(_("Which sheet?"), [(name, name) for name in question.choices], question.chosen)
        return {} if sheet == question.chosen else {"sheet": sheet}
    if question.key == "task":
        words = {"kto": _("good and bad examples"), "sft": _("questions and answers; that column is something else")}
        task = questions.choose(_("What are these rows?"), [(words[one], one) for one in question.choices], "kto")
        return {} if task == question.chosen else {"task": task}
    columns = [(name, name) for name in question.choices]
    if questions.yes(_("Were question and answer told apart rightly?")):
        return {}
    return {
        "mapping": {
            "question": questions.choose(_("Which column asks?"), columns, report.columns.get("question")),
            "answer": questions.choose(_("Which column answers?"), columns, report.columns.get("answer")),
        }
    }


def _messages(row: dict[str, Any]) -> list[dict[str, Any]]:
    if "text" in row:
        return [{"role": _("text"), "content": row["text"]}]
    return [one for part in ("messages", "prompt", "chosen", "rejected", "completion") for one in row.get(part, ())]


def _check() -> None:
    look_at(pick.data_file())


def _clean() -> None:
    from appliance import data

    file = pick.data_file()
    reading = look_at(file)
    path = Path(file).expanduser().absolute()
    report = data.check(path, **reading)
    fill = questions.fillings(list(report.placeholders))
    private = any(note.key in _private() for note in report.warnings)
    mask = private and questions.yes(_("Mask what looks like personal data and keys?"))
    if not questions.yes(_("Write the copy?")):
        return
    with output.waiting(_("cleaning")):
        made = data.clean(path, mask=mask, fill=fill, **reading)
    show_data.cleaned(made)


def _private() -> tuple[str, ...]:
    from appliance.data.private import KINDS

    return KINDS


def _preview() -> None:
    from appliance import data
    from appliance.hub import workspace

    file = Path(pick.data_file()).expanduser().absolute()
    models = [(item.name, item.folder) for item in workspace.list_models()]
    model = questions.choose(_("As which model sees them?"), [*models, (_("none: a plain ChatML template"), None)])
    with output.waiting(_("asking the model's tokenizer")):
        made = data.preview(file, model=model)
    show_data.preview(made)


def _public() -> None:
    from appliance.data import catalogue
    from appliance.errors import UsageError

    def problem(words: str) -> str | None:
        try:
            catalogue.search(words)
        except UsageError as error:
            return error.what
        return None

    words = questions.text(_("What should it be about? (empty: all)"), check=problem)
    found = catalogue.search(words)
    title = "{name}  ({subject}, {languages}, {rows})"
    chosen = questions.choose(
        _("Which one? ({n} found)").format(n=len(found)),
        [
            (
                title.format(name=one.name, subject=one.task_word, languages=one.languages_word, rows=one.rows_word),
                one,
            )
            for one in found
        ],
    )
    output.pairs(show_data.dataset_pairs(chosen))
