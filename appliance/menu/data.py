"""Data: look at a file, clean it, see rows as a model does, find public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import output, questions, show_data
from appliance.jobs import prepare
from appliance.locale import _
from appliance.menu import pick, rows


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


def _check() -> None:
    rows.look_at(pick.data_file())


def _clean() -> None:
    from appliance import data

    file = pick.data_file()
    words = rows.look_at(file)
    reading = {("mapping" if word == "map" else word): value for word, value in words.items()}
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
            return error.next_step  # one line is all there is
        return None

    words = questions.text(_("What should it be about? (empty: all)"), check=problem)
    found = catalogue.search(words)
    title, unknown = _("{name}  ({subject}; {languages}; {rows} rows)"), "{name}  ({subject}; {languages})"
    chosen = questions.choose(
        _("Which one? ({n} found)").format(n=len(found)),
        [
            (
                (title if one.rows else unknown).format(
                    name=one.name, subject=one.task_word, languages=one.languages_word, rows=one.rows_word
                ),
                one,
            )
            for one in found
        ],
    )
    output.pairs(show_data.dataset_pairs(chosen))
    if questions.yes(_("Bring it here?")):
        pick.start(prepare.download_data(chosen.name))
