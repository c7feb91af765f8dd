"""Text that people saved: a chat with a time and a name at each message, or questions with their answers below them.

    2023-05-01 12:30:45 Ann(10001)        QQ, WeChat: the text stands in the lines below
    Ann 2023/5/1 12:30                    copied from WeChat
    [01.05.23, 12:30:45] Ann: text        WhatsApp
    1/5/23, 12:30 - Ann: text             WhatsApp on Android

Who of those that talk is to be learned has to be said; until then such a file is plain text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from appliance.data import words
from appliance.data.tables import Record
from appliance.errors import UsageError
from appliance.locale import _

SILENCE = 60  # minutes, after which a message of the one who asks begins a new conversation
_LONGEST = 300  # characters of a line that may begin a message
_FOREWORD = 400  # characters that may stand above the first question
_MOST_NAMES = 200

_WHEN = (
    r"(?:(?P<date>\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}),?[ \t]+)?"
    r"(?P<noon>上午|中午|下午|晚上|早上|凌晨)?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?"
    r"(?:[ \u202f]?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_NAME = r"(?P<name>[^\s:：\[\](（][^:：\n]{0,30}?)"
_HEADS = (
    re.compile(rf"\u200e?[\[(]{_WHEN}[\])][ \t]+{_NAME}[:：](?P<text>.*)", re.S),
    re.compile(rf"\u200e?{_WHEN}[ \t]+-[ \t]+{_NAME}[:：](?P<text>.*)", re.S),
    re.compile(rf"[\[(]?{_WHEN}[\])]?[ \t]+{_NAME}[:：]?\s*"),
    re.compile(rf"{_NAME}[ \t]+[\[(]?{_WHEN}[\])]?\s*"),
)
_NUMBER = re.compile(r"[(（<][\w.@+-]{1,60}[)）>]$")  # of an account, behind a name
_NOTICE = re.compile(rf"\u200e?[\[(]?{_WHEN}[\])]?[ \t]")  # what the program itself says has no name before it
# What stands for a picture, a sound or a sticker, or what the program says in somebody's name (WhatsApp).
_MEDIA = re.compile(r"\u200e.*|\[[^\[\]\n]{1,12}\]|<[^<>\n]{1,40}>|[^\n]{0,30}(?:omitted|已忽略|已省略)", re.S)
_MARKED = re.compile(
    r"\s{0,8}(?:[#>-]{1,6}\s?)?(?P<bold>\*\*)?(?:[\d一二三四五六七八九十]{1,4}\s?[.、．)）]\s?)?"
    r"[【\[]?(?:(?P<ask>Q|Question|问|问题|提问)|(?P<say>A|Answer|答|答案|回答))\s?\d{0,4}\s?(?:[】\]]\s?[:：]?|[:：])"
    r"(?P<text>.*)",
    re.I | re.S,
)

Lines = Iterable[tuple[int, str]]


@dataclass(frozen=True)
class Saved:
    """How a text is to be read: the names of those who talk in it, or none: then it is questions with answers."""

    names: tuple[str, ...]
    head: re.Pattern[str]  # how a message begins

    @property
    def known(self) -> tuple[str, ...]:
        """Those who answer, where all names say it themselves (客户, 客服)."""
        roles = [words.ROLES.get(name.lower()) for name in self.names]
        both = {"user", "assistant"} == set(roles)
        return tuple(name for name, role in zip(self.names, roles, strict=True) if role == "assistant") if both else ()

    def answering(self, said: str | None) -> tuple[str, ...]:
        """Those whose messages are answers. Raises UsageError for a name that nobody has."""
        if said is None:
            return self.known
        if said.strip() not in self.names:
            raise UsageError(
                _("Nobody in this chat is called {name}.").format(name=said),
                _("Those who talk in it: {names}").format(names=", ".join(self.names[:20])),
                _("Say whose answers are to be learned: --map assistant=NAME"),
            )
        return (said.strip(),)


def saved(start: str) -> Saved | None:
    """What a text is by its beginning; None for any other text."""
    lines = [line for line in start.split("\n") if line.strip()]
    if len(lines) < 3:
        return None
    found = {pattern: [head for line in lines if (head := _head(line, pattern))] for pattern in _HEADS}
    pattern = max(found, key=lambda one: len(found[one]))
    heads = found[pattern]
    names = Counter(head["name"] for head in heads)
    if len(heads) * 5 > len(lines) and len(heads) > 2 and 1 < len(names) <= len(heads) // 3 + 1:
        return Saved(tuple(name for name, _count in names.most_common(_MOST_NAMES)), pattern)
    marks = [match for line in lines if len(line) <= _LONGEST and (match := _MARKED.match(line))]
    asks = sum(match["ask"] is not None for match in marks)
    says = len(marks) - asks
    first = next((place for place, line in enumerate(lines) if _MARKED.match(line[:_LONGEST])), len(lines))
    if asks < 2 or says < 2 or abs(asks - says) * 5 > asks or marks[0]["ask"] is None:
        return None
    return Saved((), _MARKED) if sum(map(len, lines[:first])) <= _FOREWORD else None


def conversations(lines: Lines, saved: Saved, answering: tuple[str, ...]) -> Iterator[Record]:
    """The talks of a saved chat, a row each: those named answer, all others ask."""
    turns: list[dict[str, Any]] = []
    begin, last = 1, ("", -SILENCE)
    for line, said in _messages(lines, saved.head):
        role = "assistant" if said["name"] in answering else "user"
        when = (said["date"] or "", _minutes(said))
        apart = when[0] != last[0] or abs(when[1] - last[1]) >= SILENCE
        if turns and apart and role == "user":
            yield Record(begin, {"conversation": _answered(turns)})
            turns = []
        last, text = when, said["text"].strip()
        if not text or _MEDIA.fullmatch(text) or (role == "assistant" and not turns):
            continue
        begin = begin if turns else line
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n{text}"
        else:
            turns.append({"role": role, "content": text})
    if turns:
        yield Record(begin, {"conversation": _answered(turns)})


def pairs(lines: Lines) -> Iterator[Record]:
    """Questions with the answers below them, a row each."""
    begin, parts, current = 0, {"question": "", "answer": ""}, ""
    for number, line in lines:
        match = _MARKED.match(line) if len(line) <= _LONGEST else _MARKED.match(line[:_LONGEST])
        if match:
            now = "question" if match["ask"] is not None else "answer"
            if now == "question" and current == "answer":
                yield Record(begin, {name: text.strip() for name, text in parts.items()})
                parts = {"question": "", "answer": ""}
            begin = number if now == "question" and not parts["question"] else begin
            current, line = now, line[match.start("text") :].replace("**", "", 1 if match["bold"] else 0)
        if current:
            parts[current] += line
    if current:
        yield Record(begin, {name: text.strip() for name, text in parts.items()})


def _messages(lines: Lines, pattern: re.Pattern[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, message) of a saved chat."""
    begin, message, inline = 0, None, "text" in pattern.groupindex
    for number, line in lines:
        head = _head(line, pattern)
        if head is not None:
            if message is not None:
                yield begin, message
            begin, message = number, {**head, "text": head.get("text") or ""}
        elif message is not None and not (inline and _NOTICE.match(line[:_LONGEST])):
            message["text"] += line if message["text"].endswith("\n") or not message["text"] else f"\n{line}"
    if message is not None:
        yield begin, message


def _head(line: str, pattern: re.Pattern[str]) -> dict[str, Any] | None:
    """The time and the name with which a message begins, and its text where that stands behind them."""
    if ":" not in line[:_LONGEST] or (len(line) > _LONGEST and "text" not in pattern.groupindex):
        return None
    match = pattern.fullmatch(line)
    name = _NUMBER.sub("", match["name"].strip()).strip() if match else ""
    return {**match.groupdict(), "name": name} if match and name else None


def _minutes(said: dict[str, Any]) -> int:
    """Of the day."""
    hour, late = int(said["hour"]), (said["half"] or "").lower() == "p" or said["noon"] in ("下午", "晚上")
    return ((hour % 12 + 12 if late else hour) * 60) + int(said["minute"])


def _answered(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without a last question that nobody answered, where others were answered."""
    return turns[:-1] if len(turns) > 2 and turns[-1]["role"] == "user" else turns
