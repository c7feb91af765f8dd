"""Which format a file's rows are in, and a raw row into the internal form (defined in `rows.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.data import words
from appliance.data.rows import Message, Row, Unusable, joined, listed, message, ordered, text_of, tools_of, turn
from appliance.data.tables import letter
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

FORMATS = (
    "alpaca", "sharegpt", "messages", "prompt_completion", "query_response", "question_answer", "preference", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where a raw row keeps what: our words (`words.FIELDS`) to the row's own keys."""

    format: str
    task: str
    fields: Mapping[str, str]
    guessed: bool = False  # by content, because no header was known

    def used(self) -> set[str]:
        """The row's keys that are read."""
        return set(self.fields.values())


def layout_of(record: Mapping[str, Any], fields: Mapping[str, str], label_counts: bool) -> Layout | None:
    """The layout of one raw row, given what its keys mean; None when they make no row of any kind.

    `label_counts` says whether the label column holds yes and no: a column of that name is often a category.
    """
    turns = listed(record.get(fields["turns"])) if "turns" in fields else None
    has_turns = turns is not None
    shape = "sharegpt" if any(isinstance(one, dict) and "from" in one for one in turns or ()) else "messages"
    asked, answered = has_turns or "question" in fields, has_turns or "answer" in fields
    name = shape if has_turns else words.pair_name(fields)
    if "chosen" in fields and "rejected" in fields and (asked or isinstance(record.get(fields["chosen"]), list)):
        return Layout(shape if has_turns else "preference", "dpo", fields)
    if asked and answered:
        return Layout(name, "kto" if "label" in fields and label_counts else "sft", fields)
    if "text" in fields and not asked:
        return Layout("text", "pretrain", fields)
    return None


@dataclass
class Recogniser:
    """Knows a file's main layout, and finds each row's own: files put together from several are common."""

    main: Layout
    mapping: Mapping[str, str]
    label_counts: bool
    _fields: dict[tuple[str, ...], dict[str, str]]

    def layout(self, record: Mapping[str, Any]) -> Layout:
        """A row's layout. Raises Unusable("other_format") when it has nothing in common with the file's task."""
        if self.main.guessed:
            return self.main
        own = layout_of(record, _fields_of(record, self.mapping, self._fields), self.label_counts)
        if own and own.task == self.main.task:
            return own
        if own is None and self.main.used() & set(record):
            return self.main
        raise Unusable("other_format")


def recognise(
    sample: Sequence[Mapping[str, Any]], columns: Sequence[str], mapping: Mapping[str, str], task: str | None
) -> Recogniser:
    """The format of a file by its first rows. `mapping` is what the person said: our words to columns.

    Raises ApplianceError when no reading makes sense, or none for the task that was asked for; UsageError for a
    mapping that names what is not there.
    """
    keys = list(columns) or list(dict.fromkeys(key for record in sample for key in record))
    said = _resolved(mapping, keys)
    cache: dict[tuple[str, ...], dict[str, str]] = {}
    label_counts = task in (None, "kto") and _label_counts(sample, said, cache)
    found = [layout_of(record, _fields_of(record, said, cache), label_counts) for record in sample]
    tasks = Counter(layout.task for layout in found if layout)
    if task is None and tasks:
        wanted: str | None = tasks.most_common(1)[0][0]
    else:
        wanted = task if task in tasks else None
    fitting = [layout for layout in found if layout and layout.task == wanted]
    if fitting:
        usual = Counter(layout.format for layout in fitting).most_common(1)[0][0]
        main = next(layout for layout in fitting if layout.format == usual)
        return Recogniser(main, said, label_counts, cache)
    if tasks:
        raise ApplianceError(
            _("The file holds rows for {found}, not for {wanted}.").format(found=", ".join(tasks), wanted=task),
            _("Its columns are: {columns}").format(columns=", ".join(keys[:20])),
            _("Choose --task {found}, or a file that fits.").format(found=next(iter(tasks))),
        )
    guess = _by_content(sample, keys, said, task)
    if guess is None:
        raise ApplianceError(
            _("It is not clear where the questions and the answers are."),
            _("The columns are: {columns}").format(columns=", ".join(keys[:20]) or "-"),
            _("Say which are which: --map question=COLUMN --map answer=COLUMN"),
        )
    return Recogniser(guess, said, label_counts, cache)


def _fields_of(
    record: Mapping[str, Any], said: Mapping[str, str], cache: dict[tuple[str, ...], dict[str, str]]
) -> dict[str, str]:
    keys = tuple(record)
    if keys not in cache:
        if len(cache) > 1000:  # rows whose keys are all different would fill the memory
            cache.clear()
        taken = set(said.values())
        cache[keys] = {**words.match(key for key in keys if key not in taken), **said}
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


def _by_content(
    sample: Sequence[Mapping[str, Any]], keys: Sequence[str], said: Mapping[str, str], task: str | None
) -> Layout | None:
    """Question and answer by what the columns hold: of two columns of sentences, the longer one answers."""
    known = {**words.match(key for key in keys if key not in set(said.values())), **said}
    taken = {known[field] for field in ("question", "answer") if field in known}
    lengths: dict[str, float] = {}
    for key in keys:
        values = [record[key] for record in sample if isinstance(record.get(key), str) and record[key].strip()]
        if len(values) * 2 < max(1, len(sample)) or key in taken:
            continue
        repeated = len(values) >= 10 and len(set(values)) * 10 < len(values) * 3  # a category
        numeric = sum(value.strip().replace(".", "", 1).isdigit() for value in values) * 2 > len(values)
        if not repeated and not numeric:
            lengths[key] = sum(map(len, values)) / len(values)
    by_length = sorted(lengths, key=lambda key: -lengths[key])
    if task == "pretrain" or (len(by_length) == 1 and not taken and task is None):
        return Layout("text", "pretrain", {"text": by_length[0]}, guessed=True) if by_length else None
    if task not in (None, "sft"):
        return None
    if len(by_length) + len(taken) < 2 or not by_length:
        return None
    if "question" in known:
        pair = (known["question"], by_length[0])
    elif "answer" in known:
        pair = (by_length[0], known["answer"])
    else:
        longer, other = by_length[0], by_length[1]
        if lengths[longer] < 1.2 * lengths[other]:  # about the same: the left one asks
            other, longer = sorted((longer, other), key=list(keys).index)
        pair = (other, longer)
    fields = {"question": pair[0], "answer": pair[1]}
    fields.update({field: known[field] for field in known if field in ("system", "tools") and known[field] not in pair})
    return Layout("question_answer", "sft", fields, guessed=True)


def convert(record: Mapping[str, Any], layout: Layout) -> Row:
    """A raw row in the internal form. Raises Unusable with the reason."""

    def get(field: str) -> Any:
        return record.get(layout.fields[field]) if field in layout.fields else None

    if layout.task == "pretrain":
        text = text_of(get("text"))
        if not text.strip():
            raise Unusable("empty_text")
        return {"text": text}
    tools = tools_of(get("tools"))
    extra = {"tools": tools} if tools else {}
    if layout.task == "dpo":
        return {**_pair(_asked(get), get("chosen"), get("rejected")), **extra}
    messages = _asked(get)
    if "answer" in layout.fields and listed(get("turns")) is None:
        messages += _answers(get("answer"))
    messages = ordered(messages)
    answer, question = messages[-1], messages[-2]["content"]
    if not answer.get("tool_calls") and answer["content"].strip() == question.strip():
        raise Unusable("answer_equals_question")
    if layout.task == "sft":
        return {"messages": messages, **extra}
    label = words.truth(get("label"))
    if label is None:
        raise Unusable("label_unreadable")
    return {"prompt": messages[:-1], "completion": [answer], "label": label, **extra}


def _asked(get: Any) -> list[Message]:
    """All that stands before the answer: system, history, question and input, or the turns as they are."""
    turns, question = get("turns"), get("question")
    system = text_of(get("system"))
    start = [message("system", system)] if system.strip() else []
    raw = listed(turns)
    if raw is None and isinstance(question, list):
        raw = question
    if raw is not None:
        messages = [turn(one) for one in raw]
        return messages if messages and messages[0]["role"] == "system" else start + messages
    history = get("history")
    for pair in (history if isinstance(history, str) and history.strip() else listed(history)) or ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable("history_unreadable")
        start += [message("user", text_of(pair[0])), message("assistant", text_of(pair[1]))]
    parts = [part for part in (text_of(question), text_of(get("input"))) if part.strip()]
    if not parts and get("chosen") is not None:
        return start
    if not parts:
        raise Unusable("empty_question")
    return [*start, message("user", "\n".join(parts))]


def _answers(value: Any) -> list[Message]:
    """An answer as messages: text, one message, or several."""
    if isinstance(value, dict) and ("role" in value or "from" in value):
        return [turn(value)]
    parts = isinstance(value, list) and all(isinstance(one, dict) and one.get("type") == "text" for one in value)
    if isinstance(value, list) and not parts:
        return [turn(one) for one in value]
    return [message("assistant", text_of(value))]


def _pair(prompt: list[Message], chosen: Any, rejected: Any) -> Row:
    """A preference pair. Without a prompt of its own, the prompt is what both conversations begin with."""
    good, bad = _answers(chosen), _answers(rejected)
    if len(good) > len(prompt) and good[: len(prompt)] == prompt == bad[: len(prompt)]:
        good, bad = good[len(prompt) :], bad[len(prompt) :]
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        shared = 0
        while shared < min(len(good), len(bad)) - 1 and good[shared] == bad[shared]:
            shared += 1
        prompt, good, bad = prompt + good[:shared], good[shared:], bad[shared:]
    if not prompt or all(one["role"] == "system" for one in prompt):
        raise Unusable("empty_question")
    prompt, good, bad = joined(prompt), joined(good), joined(bad)
    ordered(prompt + good)
    ordered(prompt + bad)
    if good == bad:
        raise Unusable("chosen_equals_rejected")
    return {"prompt": prompt, "chosen": good, "rejected": bad}
