"""Which format a file's rows are in: by their keys and headers, then by what they hold."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.data import by_content, composed, words, wrapped
from appliance.data.convert import Layout
from appliance.data.rows import Unusable, listed
from appliance.data.shown import named_images
from appliance.data.tables import letter
from appliance.data.turns import by_columns, is_thought, speakers, transcript
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

FORMATS = (
    "alpaca", "sharegpt", "messages", "prompt_completion", "query_response", "question_answer", "preference", "caption",
    "transcript", "text",
)  # fmt: skip


def layout_of(
    record: Mapping[str, Any],
    fields: Mapping[str, str],
    label_counts: bool,
    transcripts: bool = True,
    classes: bool = False,
    articles: bool = False,
) -> Layout | None:
    """The layout of one raw row, given what its keys mean; None when they make no row of any kind.

    `label_counts` says whether the label column holds yes and no: a column of that name is often a category.
    `transcripts`: a text may be a conversation. `classes`: a text may have its class beside it. `articles`: a content
    with a title is one to read.
    """
    if articles and words.is_article(fields):
        fields = {**{word: key for word, key in fields.items() if word not in _PAIR}, "text": fields["answer"]}
    fields = _with_label(_with_turns(record, fields), label_counts)
    told = record.get(fields.get("thought", ""))
    if told not in (None, "", []) and not is_thought(told[0] if isinstance(told, list) else told):
        fields = _without(fields, "thought")
    shape = _shape(record.get(fields["turns"])) if "turns" in fields else ""
    # a conversation called text (GenQA)
    if not shape and "text" in fields and isinstance(record.get(fields["text"]), list):
        shape = _shape(record[fields["text"]])
        if shape:
            fields = {**{word: key for word, key in fields.items() if word != "text"}, "turns": fields["text"]}
    if shape and _only_asks(record, fields["turns"]):
        shape = ""
    asked, answered = bool(shape) or "question" in fields, bool(shape) or "answer" in fields
    name = shape or words.pair_name(fields)
    if "rejected" in fields and ("chosen" in fields or (asked and answered)):
        better = record.get(fields["chosen"]) if "chosen" in fields else None
        if asked or isinstance(better, list) or listed(better) is not None or transcript(better):
            return Layout(shape or "preference", "dpo", _without(fields, "label", "text", "thought"))
    if asked and answered:
        if "label" in fields and label_counts:
            return Layout(name, "kto", _without(fields, "chosen", "rejected", "text"))
        return Layout(name, "sft", _without(fields, "chosen", "rejected", "label", "text"))
    shown = "images" in fields and bool(named_images(record.get(fields["images"])))
    if shown and not asked and ("answer" in fields or "text" in fields):
        return Layout("caption", "sft", {"answer": fields.get("answer") or fields["text"], "images": fields["images"]})
    if "text" in fields and not asked:
        if transcripts and transcript(record.get(fields["text"])):
            return Layout("transcript", "sft", {"turns": fields["text"]})
        if classes and (kind := by_content.class_of(record, fields["text"])):
            return Layout("question_answer", "sft", {"question": fields["text"], "answer": kind}, guessed=True)
        return Layout("text", "pretrain", {"text": fields["text"]})
    if "question" in fields and _shape(record.get(fields["question"])):  # a tree of turns; a conversation called prompt
        return Layout("messages", "sft", {**fields, "turns": fields["question"]})
    return None


def _only_asks(record: Mapping[str, Any], column: str) -> bool:
    """Whether these are questions one after the other (MT-Bench), or ways to say one, and no one answers."""
    value = record.get(column)
    if words.plain(column) not in ("turns", "utterances") or not isinstance(value, list):
        return False
    return all(isinstance(one, str) for one in value) and not speakers(value)


_PAIR = ("question", "answer")


def _without(fields: Mapping[str, str], *words_: str) -> Mapping[str, str]:
    """Only what rows of a task are read from."""
    return {word: key for word, key in fields.items() if word not in words_}


def _with_label(fields: Mapping[str, str], label_counts: bool) -> Mapping[str, str]:
    """A question about a picture may have its answer under `label`."""
    if "label" in fields and {"question", "images"} <= fields.keys() and "answer" not in fields and not label_counts:
        return {**{word: key for word, key in fields.items() if word != "label"}, "answer": fields["label"]}
    return fields


def _with_turns(record: Mapping[str, Any], fields: Mapping[str, str]) -> Mapping[str, str]:
    """Some call the turns before an answer `context` or `history`, and the whole conversation `data`."""
    if "turns" in fields:
        return fields
    if "question" not in fields:
        for place in ("input", "history"):
            value = record.get(fields.get(place, ""))
            if isinstance(value, list) and value and isinstance(value[0], dict) and _shape(value):
                return {**{word: key for word, key in fields.items() if word != place}, "turns": fields[place]}
        value = record.get("data")
        if isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value):
            return {**fields, "turns": "data"}
    if not ({"question", "answer"} <= fields.keys() or {"text", "chosen", "rejected"} & fields.keys()):
        called = next((key for key, value in record.items() if by_content.are_turns(value)), None)
        if called is not None:  # whatever it is called
            return {**{word: key for word, key in fields.items() if key != called}, "turns": called}
    return fields


def _shape(value: Any) -> str:
    """sharegpt or messages for something that holds turns, "" for everything else."""
    if isinstance(value, dict):
        if (turns := by_columns(value)) is not None:
            return _named(turns)
        return "messages" if "replies" in value or (value and all(isinstance(v, dict) for v in value.values())) else ""
    if isinstance(value, str) and value.lstrip()[:1] != "[":
        return "transcript" if transcript(value) else ""
    turns = listed(value)
    if turns is None:
        return ""
    return _named(turns)


def _named(turns: list[Any]) -> str:
    """A list of turns by how they name their speakers."""
    for one in turns[:3]:
        if isinstance(one, dict) and "from" in one:
            return "sharegpt"
    return "messages"


@dataclass
class Recogniser:
    """Knows a file's main layout, and finds each row's own: files put together from several are common."""

    main: Layout
    mapping: Mapping[str, str]
    label_counts: bool
    composed: str = ""  # rows are to be restated first: of which of the kinds of `composed.py` most are
    articles: bool = False  # a content with a title is plain text
    wrapped: bool = False  # rows are to be opened before, see `wrapped.py`
    media: Sequence[str] = ()  # columns of videos and sounds, which nothing here shows to a model
    columns: Sequence[str] = ()  # of the first rows, opened and not yet restated
    several_answers: bool = False  # some of the first rows have a list of them
    _fields: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    _same: dict[tuple[str, ...], Layout] = field(default_factory=dict)
    _talks: dict[tuple[str, ...], tuple[str, dict[str, Layout]]] = field(default_factory=dict)

    @property
    def unread(self) -> list[str]:
        """The columns of which nothing is read; none where rows are restated, which may look at any."""
        used = self.main.used()
        return [] if self.composed else [column for column in self.columns if column not in used]

    @property
    def restates(self) -> bool:
        """Whether rows have to go through `restated`."""
        return bool(self.composed or self.wrapped or self.media)

    def restated(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """A raw row opened and restated, where this file's rows have to be. Raises Unusable."""
        if any(record.get(column) for column in self.media):
            raise Unusable("other_media")
        if self.wrapped:
            record = wrapped.opened(record)
        return composed.restated(record) if self.composed else record

    def layout(self, record: Mapping[str, Any]) -> Layout:
        """A row's layout. Raises Unusable("other_format") when it has nothing in common with the file's task."""
        if self.main.guessed:
            return self.main
        keys = tuple(record)
        own = self._same.get(keys)
        if own is not None:
            return own
        if (talk := self._talks.get(keys)) is not None:
            turns = record[talk[0]]
            if type(turns) is list and (own := talk[1].get(_named(turns))) is not None:
                return own
        fields = _fields_of(record, self.mapping, self._fields)
        own = layout_of(record, fields, self.label_counts, self.main.task != "pretrain", articles=self.articles)
        if own and own.task == self.main.task:
            # Pairs in columns are read alike in every row; what holds turns is looked at each time.
            if own.format != "transcript" and _PLAIN.issuperset(fields) and len(self._same) < 1000:
                self._same[keys] = own
            # So are conversations that are lists: their shape is all that can differ.
            elif set(fields) == {"turns"} and type(record[fields["turns"]]) is list and len(self._talks) < 1000:
                self._talks.setdefault(keys, (fields["turns"], {}))[1][own.format] = own
            return own
        if own is None and self.main.used() & set(record):
            return self.main
        raise Unusable("other_format")


_PLAIN = {"question", "answer", "input", "system", "text", "thought"}


def recognise(
    sample: Sequence[Mapping[str, Any]], columns: Sequence[str], mapping: Mapping[str, str], task: str | None
) -> Recogniser:
    """The format of a file by its first rows. `mapping` is what the person said: our words to columns.

    Raises ApplianceError when no reading makes sense, or none for the task that was asked for; UsageError for a
    mapping that names what is not there.
    """
    inside = sum(wrapped.opened(record) is not record for record in sample) * 2 > len(sample)
    if inside:
        sample = [wrapped.opened(record) for record in sample]
    keys = [] if inside else list(columns)
    keys = keys or list(dict.fromkeys(key for record in sample for key in record))
    columns = keys
    media = [key for key in keys if words.plain(key) in words.MEDIA]
    kinds = Counter(map(composed.kind_of, sample)) if not mapping else Counter()
    # An exam has questions without options too.
    restate = (sum(kinds.values()) - kinds[""]) * 2 > len(sample) or kinds["options"] * 5 > len(sample)
    several = max((kind for kind in kinds if kind), key=kinds.__getitem__) if restate else ""
    if several:
        sample = list(_restated(sample))
        keys = list(dict.fromkeys(key for record in sample for key in record))
    said = _resolved(mapping, keys)
    cache: dict[tuple[str, ...], dict[str, str]] = {}
    label_counts = task in (None, "kto") and _label_counts(sample, said, cache)
    classes = task in (None, "sft")
    named = [(record, _fields_of(record, said, cache)) for record in sample]
    articles = not mapping and task in (None, "pretrain") and by_content.are_articles(named)
    found = [layout_of(record, fields, label_counts, classes=classes, articles=articles) for record, fields in named]
    tasks = Counter(layout.task for layout in found if layout)
    if task is None and tasks:
        wanted: str | None = tasks.most_common(1)[0][0]
    else:
        wanted = task if task in tasks else None
    fitting = [layout for layout in found if layout and layout.task == wanted]
    if fitting:
        usual = Counter(layout.format for layout in fitting).most_common(1)[0][0]
        main = next(layout for layout in fitting if layout.format == usual)
        many = "answer" in main.fields and any(
            map(by_content.several, (row.get(main.fields["answer"]) for row in sample))
        )
        return Recogniser(main, said, label_counts, several, articles, inside, media, columns, many, cache)
    if tasks:
        raise ApplianceError(
            _("The file holds rows for {found}, not for {wanted}.").format(found=", ".join(tasks), wanted=task),
            _("Its columns are: {columns}").format(columns=", ".join(keys[:20])),
            _("Choose --task {found}, or a file that fits.").format(found=next(iter(tasks))),
        )
    # Of two answers that nothing judges, neither is a question.
    unjudged = not mapping and composed.two_answers(sample[0] if sample else {}) is not None
    guess = None if unjudged else by_content.layout(sample, keys, said, task)
    if guess is None:
        raise ApplianceError(
            _("It is not clear where the questions and the answers are."),
            _("The columns are: {columns}").format(columns=", ".join(keys[:20]) or "-"),
            _("Say which are which: --map question=COLUMN --map answer=COLUMN"),
        )
    return Recogniser(guess, said, label_counts, several, articles, inside, media, columns, False, cache)


def _restated(sample: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for record in sample:
        with contextlib.suppress(Unusable, RecursionError):
            yield composed.restated(record)


def _fields_of(
    record: Mapping[str, Any], said: Mapping[str, str], cache: dict[tuple[str, ...], dict[str, str]]
) -> dict[str, str]:
    keys = tuple(record)
    if keys not in cache:
        if len(cache) > 1000:  # rows whose keys are all different would fill the memory
            cache.clear()
        taken = set(said.values())
        found = words.match(key for key in keys if key not in taken)
        if "answer" in said:  # then that is all there is to learn
            found.pop("thought", None)
        cache[keys] = {**found, **said}
    return cache[keys]


def _resolved(mapping: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    """The person's mapping with our words and the file's columns; a column may be called by name, letter or 列A."""
    said: dict[str, str] = {}
    problems = []
    plain = {words.plain(key): key for key in reversed(keys)}
    letters = {letter(index): key for index, key in enumerate(keys)}
    for word, column in mapping.items():
        field = words.ALIASES.get(word, word)
        called = column.strip().removeprefix("列").removeprefix("column ").strip().upper()
        key = column if column in keys else plain.get(words.plain(column), letters.get(called))
        if field not in words.FIELDS:
            problems.append(
                _("{word} is not a word for --map: {words}").format(word=word, words=", ".join(words.FIELDS))
            )
        elif key is None:
            problems.append(
                _("There is no column {column}; there are: {columns}").format(
                    column=column, columns=", ".join(list(keys)[:20])
                )
            )
        else:
            said[field] = key
    if problems:
        raise UsageError(_("The columns can't be assigned like this."), "", _("Correct --map and try again."), problems)
    return said


def _label_counts(
    sample: Sequence[Mapping[str, Any]], said: Mapping[str, str], cache: dict[tuple[str, ...], dict[str, str]]
) -> bool:
    values = []
    for record in sample:
        column = _fields_of(record, said, cache).get("label")
        if column is not None and record.get(column) not in (None, ""):
            if words.plain(column) == "kto_tag" or "label" in said:
                return True
            values.append(record[column])
    return bool(values) and sum(words.truth(value) is not None for value in values) * 10 >= len(values) * 9
