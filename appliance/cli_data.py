"""The commands about data: look at a file, clean it, see rows as a model does, find public data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance import output
from appliance.cli_watch import Detach, do
from appliance.cli_words import DataFile, DataTask, Json, Lang, Map, Revision, Sheet, Yes, fillings_of, mapping_of
from appliance.errors import UsageError
from appliance.locale import _

app = typer.Typer(no_args_is_help=True, help=_("Look at a data file before training on it."))

_Model = Annotated[
    str | None, typer.Option("--model", "-m", help=_("Whose tokenizer and chat template: a folder or a name."))
]


@app.command("check", help=_("Is this good to train on?"))
def check(
    file: DataFile,
    map: Map = None,
    task: DataTask = "auto",
    sheet: Sheet = None,
    model: _Model = None,
    length: Annotated[int | None, typer.Option(min=1, help=_("Tokens beyond which a row would be cut."))] = None,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance import data
    from appliance.show_data import report as show_report

    with output.waiting(_("looking at the rows")):
        report = data.check(file, **_reading(map, task, sheet), model=_folder(model), length=length)
    output.answer(report.as_dict(), lambda: show_report(report))


@app.command("clean", help=_("Write a better copy and a list of what was changed; the original stays as it is."))
def clean(
    file: DataFile,
    to: Annotated[Path | None, typer.Option(help=_("The copy; NAME-clean beside the original if not given."))] = None,
    mask: Annotated[bool, typer.Option("--mask", help=_("Mask phone numbers, addresses, keys and the like."))] = False,
    fill: Annotated[list[str] | None, typer.Option("--fill", help=_("A placeholder's value: name=VALUE"))] = None,
    map: Map = None,
    task: DataTask = "auto",
    sheet: Sheet = None,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance import data
    from appliance.show_data import cleaned as show_cleaned

    filling = fillings_of(fill) or {}
    reading = _reading(map, task, sheet)
    if sys.stdin.isatty() and not (yes or output.is_json()):
        from appliance import questions

        with output.waiting(_("looking at the rows")):
            report = data.check(file, **reading)
        if report.needs_consent and not questions.yes(_("{verdict} Go on?").format(verdict=report.verdict)):
            raise typer.Exit(130)
        filling.update(questions.fillings([name for name in report.placeholders if name not in filling]))
    with output.waiting(_("cleaning")):
        made = data.clean(file, to=to, mask=mask, fill=filling, **reading)
    output.answer(made.as_dict(), lambda: show_cleaned(made))


@app.command("download", help=_("Bring a public data set here, by its name in `appliance datasets` or owner/name."))
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_("A name of the catalogue, or owner/name at a hub."))],
    source: Annotated[str, typer.Option(help="auto | modelscope | huggingface")] = "auto",
    revision: Revision = None,
    detach: Detach = False,
    yes: Yes = False,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance.jobs import prepare

    if source not in ("auto", "modelscope", "huggingface"):
        raise UsageError(_("Unknown source {name}.").format(name=source), "", "auto | modelscope | huggingface")
    do(prepare.download_data(name, source=source, revision=revision), detach)


@app.command("preview", help=_("Rows as a model will see them: what it reads, and what it learns."))
def preview(
    file: DataFile,
    model: _Model = None,
    rows: Annotated[int, typer.Option(min=1, max=100, help=_("How many rows."))] = 3,
    map: Map = None,
    task: DataTask = "auto",
    sheet: Sheet = None,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance import data
    from appliance.show_data import preview as show_preview

    with output.waiting(_("asking the model's tokenizer")):
        made = data.preview(file, model=_folder(model), rows=rows, **_reading(map, task, sheet))
    output.answer(made.as_dict(), lambda: show_preview(made))


def datasets(
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORDS]", help=_("What it should be about."))] = None,
    json: Json = False,
    lang: Lang = None,
) -> None:
    """Registered by cli.py as `appliance datasets`."""
    from appliance.data import catalogue
    from appliance.show_data import datasets as show_datasets

    found = catalogue.search(" ".join(words or []))
    output.answer({"datasets": [one.as_dict() for one in found]}, lambda: show_datasets(found))


def _reading(map: list[str] | None, task: str, sheet: str | None) -> dict[str, Any]:
    return {"mapping": mapping_of(map), "task": None if task == "auto" else task, "sheet": sheet}


def _folder(model: str | None) -> Path | None:
    from appliance.jobs import prepare

    return None if model is None else prepare.model_folder(model)


@app.command("from-feedback", help=_("Rows for KTO from the thumbs that were given in a chat."))
def from_feedback(
    to: Annotated[Path | None, typer.Option(help=_("The file to write."))] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=_("Only the answers of this one."))] = None,
    json: Json = False,
    lang: Lang = None,
) -> None:
    from appliance import settings
    from appliance.data import feedback

    made = feedback.to_kto(settings.feedback_file(), to or settings.datasets_folder() / "feedback.jsonl", model)
    output.answer(made, lambda: output.pairs(feedback.facts(made)))
    output.note(_("Next: {command}").format(command=f"appliance data check {made['file']}"))
