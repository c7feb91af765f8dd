"""Where a file can be read in two ways: what was taken, what else there is, and the words that choose it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from appliance.data import words
from appliance.data.report import Question
from appliance.data.stream import Stream
from appliance.locale import _

_SHOWN = 3  # rows


def questions(stream: Stream, task: str | None = None) -> list[Question]:
    """What a person could be asked about a file, most important first; what was not asked is as it was taken."""
    return list(_questions(stream, task))


def _questions(stream: Stream, task: str | None) -> Iterator[Question]:
    source, main = stream.source, stream.recogniser.main
    if len(source.likely) > 1:
        yield Question(
            "sheet",
            _("The file has several sheets; {sheet} was taken. Another: --sheet NAME").format(sheet=source.sheet),
            str(source.sheet),
            source.likely,
            [{"sheet": sheet} for sheet in source.likely],
        )
    columns = list(source.columns) or list(dict.fromkeys(key for row in first_rows(stream) for key in row))
    if main.guessed and len(columns) > 1:
        chosen = _named(main.fields)
        turned = {"question": main.fields.get("answer"), "answer": main.fields.get("question")}
        ways: list[dict[str, Any]] = [{"map": dict(main.fields)}, *([{"map": turned}] if all(turned.values()) else [])]
        yield Question(
            "columns",
            _(
                "The columns were taken as {chosen}, by what they hold. Otherwise: --map question=… --map answer=…"
            ).format(chosen=chosen),
            chosen,
            columns,
            ways,
        )
    tagged = main.task == "kto" and words.plain(main.fields["label"]) != "kto_tag"
    if task is None and tagged and source.kind == "table":
        yield Question(
            "task",
            _("The column {column} was taken as good or bad. If it is something else: --task sft").format(
                column=main.fields["label"]
            ),
            "kto",
            ["kto", "sft"],
            [{"task": "kto"}, {"task": "sft"}],
        )


def _named(fields: Any) -> str:
    return ", ".join(f"{field}={column}" for field, column in fields.items())


def first_rows(stream: Stream) -> list[dict[str, str]]:
    """The first rows that hold something, column by column, for showing them."""
    shown = ({str(key): str(value) for key, value in raw.items()} for raw in _raw(stream))
    return list(islice(shown, _SHOWN))


def _raw(stream: Stream) -> Iterator[dict[str, Any]]:
    return (raw for batch in stream.batches() for raw in batch.raw if isinstance(raw, dict))
