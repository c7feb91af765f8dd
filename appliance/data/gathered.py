"""Files in which every row is one turn: gathered into conversations, so that a row is one.

    trees   OpenAssistant's messages: message_id, parent_id, role, text, perhaps rank; the best answers are followed
    talks   an exported chat: the conversation's number, who speaks, what is said, in the order of the file; where no
            number tells conversations apart, a system turn begins another
    bare    a conversation that is a list of turns, or of texts, with nothing around it

And those in which a row is a text with several questions below it: a row for each question.

The turns of a conversation stand together in such files; where they do not, that is said and nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from appliance.data import words
from appliance.data.nested import folded, unfolded
from appliance.data.notes import Note
from appliance.data.read import Source
from appliance.data.tables import Broken, Record
from appliance.errors import ApplianceError
from appliance.locale import _

_NUMBERS = (
    "conversation_id", "session_id", "dialogue_id", "dialog_id", "chat_id", "conv_id", "thread_id", "session",
    "会话id", "会话编号", "会话号", "对话id", "对话编号", "会话", "ticket_id", "ticket", "case_id", "call_id", "工单号",
    "工单编号", "工单id", "咨询编号", "通话编号", "通话id", "聊天编号", "session_no", "chatid", "dialogueid",
)  # fmt: skip
_SPEAKERS = (
    "role", "speaker", "sender", "from", "sender_type", "角色", "发送者", "发送人", "说话人", "发言人", "身份",
    "author_role", "author_type", "sender_role", "发送方", "发言者", "发言人类型", "说话角色", "发言角色", "消息方向",
    "direction",
)  # fmt: skip
_TEXTS = (
    "content", "text", "message", "utterance", "value", "消息内容", "消息", "内容", "发言", "文本", "对话内容", "body",
    "comment_body", "发言内容", "识别文本", "聊天内容", "message_text", "message_content", "comment",
)  # fmt: skip
_MOST_TURNS = 50  # of a conversation, where no number tells when it ends
_TREE = {"message_id", "parent_id", "text", "role"}

Rows = Iterator[Record]


def gathered(source: Source, sample: Sequence[Any], assistant: str | None = None) -> Source:
    """The same file with a row for each conversation; as it is, where its rows are no single turns.

    `assistant`: who answers, where the rows name people. Raises ApplianceError where nobody can tell who asks and who
    answers.
    """
    rows = [one for one in sample if isinstance(one, dict)]
    gather: Callable[[Rows], Rows] | None = None
    note = Note("gathered", _("Every row of the file is one turn; they were put together into conversations."))
    answering = ""
    if rows and sum(one.keys() >= _TREE for one in rows) * 2 > len(rows):
        gather = _trees
    elif rows and sum(map(folded, rows)) * 2 > len(rows):
        gather = _unfolded
        note = Note("unfolded", _("The rows are texts with several questions below them: each question is one row."))
    elif columns := _columns(rows, assistant):
        gather = _Talks(*columns, assistant)
        answering = assistant or ""
        if not columns[0]:
            sentence = _("No column tells conversations apart: each system turn begins one, and so do {n} turns.")
            note.sentence += " " + sentence.format(n=_MOST_TURNS)
    elif not rows and sum(map(_is_talk, sample)) * 2 > len(sample):
        gather = _bare
    if gather is None:
        return source
    records, chosen = source.records, gather
    notes = source.notes if gather is _bare else [*source.notes, note]
    # As lines, whatever it was: a conversation fits into no cell.
    return replace(
        source,
        kind="jsonl",
        records=lambda: chosen(records()),
        columns=[],
        notes=notes,
        text=None,
        parser=None,
        answering=answering,
    )


def _is_talk(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(one, dict) for one in value) or (len(value) > 1 and all(isinstance(o, str) for o in value))


def _unfolded(records: Rows) -> Rows:
    for record in records:
        yield from unfolded(record)


def _bare(records: Rows) -> Rows:
    for record in records:
        yield Record(record.line, {"conversation": record.value}) if _is_talk(record.value) else record


def _together(records: Rows, number: Callable[[Any], Any]) -> Iterator[tuple[Any, list[Record]]]:
    """Rows with the same number, which have to stand together."""
    seen: set[int] = set()
    for name, group in groupby(records, key=lambda record: number(record.value)):
        if name is not None and hash(name) in seen:
            raise ApplianceError(
                _("The turns of one conversation stand apart: {name}").format(name=str(name)[:80]),
                _("Every row of the file is one turn, and those of a conversation have to follow one another."),
                _("Sort the file by its conversations, and by time within each."),
            )
        seen.add(hash(name))
        yield name, list(group)


def _trees(records: Rows) -> Rows:
    def number(value: Any) -> Any:
        return str(value.get("message_tree_id") or value.get("message_id")) if isinstance(value, dict) else None

    for _name, group in _together(records, number):
        nodes = {
            str(one.value.get("message_id")): {**one.value, "replies": []}
            for one in group
            if isinstance(one.value, dict) and not one.value.get("deleted")
        }
        for node in nodes.values():
            if (above := nodes.get(str(node.get("parent_id")))) is not None and above is not node:
                above["replies"].append(node)
        first = next((node for node in nodes.values() if node.get("parent_id") is None), None)
        yield Record(group[0].line, {"prompt": first} if first else Broken("roles_out_of_order"))


def _columns(rows: Sequence[Mapping[str, Any]], assistant: str | None) -> tuple[str, str, str] | None:
    """The columns of the conversation's number ("" where there is none), the speaker and the text, where each row is a
    turn.

    Raises ApplianceError where these are there and no speaker is known.
    """
    if len(rows) < 2:
        return None
    plain = {words.plain(key): key for key in reversed(list(rows[0]))}
    number, speaker, text = (
        next((plain[n] for n in names if n in plain), "") for names in (_NUMBERS, _SPEAKERS, _TEXTS)
    )
    if not speaker or not text:
        return None
    spoken = [row[speaker].strip() for row in rows if isinstance(row.get(speaker), str) and row[speaker].strip()]
    if len(spoken) * 10 < len(rows) * 9:
        return None
    roles = [words.ROLES.get(name.lower()) for name in spoken]
    sure = (len(roles) - roles.count(None)) * 10 >= len(roles) * 8
    if not number:
        # A row is a turn only where it says who speaks and what, and little else.
        return ("", speaker, text) if sure and {"user", "assistant"} <= set(roles) and len(rows[0]) <= 4 else None
    numbers = [str(row.get(number)) for row in rows]
    if (len(numbers) - len(set(numbers))) * 3 < len(numbers):
        return None
    names = list(dict.fromkeys(spoken))
    if sure or assistant in names:
        return number, speaker, text
    if len(names) > max(8, len(rows) // 3):
        return None
    raise ApplianceError(
        _("Every row is one turn of a conversation, and it is not clear who asks and who answers."),
        _("The column {column} names: {names}").format(column=speaker, names=", ".join(names[:8])),
        _("Say whose answers are to be learned: --map assistant=NAME"),
    )


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) and value for value in values)


class _Talks:
    """Gathers an exported chat; what one speaker says in several rows is one turn."""

    def __init__(self, number: str, speaker: str, text: str, assistant: str | None):
        self._number, self._speaker, self._text, self._assistant = number, speaker, text, assistant

    def __call__(self, records: Rows) -> Rows:
        for name, group in _together(records, self._of) if self._number else self._cut(records):
            turns: list[dict[str, Any]] = []
            for one in group:
                if not isinstance(one.value, dict):
                    yield Record(one.line, one.value)
                    continue
                speaker, text = self._role(one.value.get(self._speaker)), one.value.get(self._text)
                if turns and turns[-1]["role"] == speaker and _are_texts(turns[-1]["content"], text):
                    turns[-1]["content"] += f"\n{text}"
                else:
                    turns.append({"role": speaker, "content": text})
            while turns and self._speaks(turns[-1]) == "user":
                turns.pop()  # a question that nobody answered
            asking = (place for place, one in enumerate(turns) if self._speaks(one) != "assistant")
            greeted = next(asking, 0)  # what was said before anybody asked answers nothing
            if name is not None:
                yield Record(group[0].line, {"conversation": turns[greeted:]})

    def _speaks(self, turn: Mapping[str, Any]) -> str | None:
        return words.ROLES.get(str(turn["role"]).strip().lower())

    def _role(self, speaker: Any) -> Any:
        if self._assistant is None or not isinstance(speaker, str):
            return speaker
        return "assistant" if speaker.strip() == self._assistant else "user"

    def _of(self, value: Any) -> Any:
        return str(value.get(self._number)) if isinstance(value, dict) else None

    def _cut(self, records: Rows) -> Iterator[tuple[Any, list[Record]]]:
        """Turns without a number: a conversation ends before a system turn, and before a user's where it is long."""
        group: list[Record] = []
        for record in records:
            said = record.value.get(self._speaker) if isinstance(record.value, dict) else None
            role = words.ROLES.get(said.strip().lower()) if isinstance(said, str) else None
            if group and (role == "system" or (role == "user" and len(group) >= _MOST_TURNS)):
                yield "", group
                group = []
            group.append(record)
        if group:
            yield "", group
