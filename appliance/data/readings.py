"""Where a file can be read in two ways: what was taken, what else there is, and the words that choose it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from appliance.data import composed, words
from appliance.data.report import Question
from appliance.data.stream import Stream
from appliance.locale import _

_SHOWN = 3  # rows
_NAMES = 8


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
    if source.speakers and not source.answering and task is None:
        names = list(source.speakers)
        yield Question(
            "speaker",
            _(
                "A saved chat, taken as plain text. To learn the answers of one of those who talk in it "
                "({names}): --map assistant=NAME"
            ).format(names=", ".join(names[:_NAMES])),
            "",
            names,
            [*({"map": {"assistant": name}} for name in names), {}],
        )
    columns = list(stream.recogniser.columns) or list(source.columns)
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
    elif task is None and (open_ := _left_open(stream)):
        yield open_
    tagged = main.task == "kto" and words.plain(main.fields["label"]) != "kto_tag"
    if task is None and tagged and not _says_yes_or_no(stream, main.fields["label"]):
        yield Question(
            "task",
            _("The column {column} was taken as good or bad. If it is something else: --task sft").format(
                column=main.fields["label"]
            ),
            "kto",
            ["kto", "sft"],
            [{"task": "kto"}, {"task": "sft"}],
        )


def _says_yes_or_no(stream: Stream, column: str) -> bool:
    """Whether a label is written as true or false; 0 and 1, or words, may say anything of two kinds."""
    values = (row.get(column) for row in islice(_raw(stream), 20))
    return all(isinstance(value, bool) for value in values if value is not None)


def _left_open(stream: Stream) -> Question | None:
    """What the headers alone don't say: whether a title asks, what a label is for, which of several columns answers."""
    recogniser, main = stream.recogniser, stream.recogniser.main
    columns = list(recogniser.columns)
    if recogniser.composed == "two_texts":
        sentence = _(
            "Two texts are asked about together; the answer is their label. Otherwise: --map question=… --map answer=…"
        )
        return Question("restated", sentence, "two_texts", columns, [{}])
    if recogniser.composed == "languages":
        asked, answered = [column for column in columns if column in composed.translated(columns)]
        ways = [{"map": {"question": a, "answer": b}} for a, b in ((asked, answered), (answered, asked))]
        return _columns_question({"question": asked, "answer": answered}, columns, ways)
    if recogniser.mapping or recogniser.composed:
        return None
    if main.task == "pretrain":
        return _beside_text(main.fields["text"], recogniser.unread, stream)
    if words.is_article(main.fields):
        fields = {word: main.fields[word] for word in ("question", "answer")}
        return _columns_question(fields, columns, [{"map": fields}, {"map": {"text": fields["answer"]}}])
    others = (
        words.rivals(main.fields["answer"], columns) if "answer" in main.fields and "turns" not in main.fields else []
    )
    if "question" not in main.fields or not others:
        return None
    fields = {"question": main.fields["question"], "answer": main.fields["answer"]}
    return _columns_question(fields, columns, [{"map": {**fields, "answer": n}} for n in (fields["answer"], *others)])


def _beside_text(text: str, unread: list[str], stream: Stream) -> Question | None:
    """A text that is taken as it is, though it has a title that may ask for it, or a label."""
    titles = [column for column in unread if words.plain(column) in words.TITLES]
    as_text = {"text": text}
    if titles and words.plain(text) != "text":
        ways: list[dict[str, Any]] = [{"map": as_text}, {"map": {"question": titles[0], "answer": text}}]
        return _columns_question(as_text, [text, *unread], ways)
    first = next(_raw(stream), {})
    marked = [
        c for c in unread if words.plain(c) in (*words.CLASSES, *words.MARKINGS) and first.get(c) not in (None, "")
    ]
    if not marked:
        return None
    plain = [column for column in marked if isinstance(first[column], (str, int, float))]
    return _columns_question(
        as_text,
        [text, *unread],
        [{"map": as_text}, *({"map": {"question": text, "answer": column}} for column in plain)],
    )


def _columns_question(fields: dict[str, str], columns: list[str], ways: list[dict[str, Any]]) -> Question:
    chosen = _named(fields)
    other = next((way["map"] for way in ways[1:]), {"question": "…", "answer": "…"})
    sentence = _("The columns were taken as {chosen}. Otherwise: {words}").format(
        chosen=chosen, words=" ".join(f"--map {word}={column}" for word, column in other.items())
    )
    return Question("columns", sentence, chosen, columns, ways)


def _named(fields: Any) -> str:
    return ", ".join(f"{field}={column}" for field, column in fields.items())


def first_rows(stream: Stream) -> list[dict[str, str]]:
    """The first rows that hold something, column by column, for showing them."""
    shown = ({str(key): str(value) for key, value in raw.items()} for raw in _raw(stream))
    return list(islice(shown, _SHOWN))


def _raw(stream: Stream) -> Iterator[dict[str, Any]]:
    return (raw for batch in stream.batches() for raw in batch.raw if isinstance(raw, dict))
