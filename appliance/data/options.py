"""Questions with options (A, B, C … in columns, a list or an object), of which one is marked as right.

The options are asked with their question, a line each, and the answer is the mark of the right one: its letter, or its
number where the columns are numbered from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from appliance.data import words
from appliance.data.rows import Unusable, listed

Record = Mapping[str, Any]

_COLUMN = re.compile(
    r"^(?P<stem>选项|option|choice|sol|ending|answer|op)?[ _]?(?:(?P<letter>[A-Ha-h])|(?P<number>[0-9]))(?:选项)?$",
    re.I,
)
_LISTS = ("choices", "options", "option", "option_list", "endings", "选项")
_RIGHT = (
    "answerkey", "answer_key", "answer_idx", "answer_label", "correct_option", "correct_choice_idx", "correct_answer",
    "answer", "correct", "cop", "label", "正确选项", "正确答案", "标准答案", "答案",
)  # fmt: skip
# What begins a sentence that the options end; none of them is a question anywhere else.
_BEGINNINGS = ("ctx", "goal", "question_stem", "statement", "sentence", "stem", "premise", "题干")
_OWN = re.compile(r"^\s*[(（]?([A-H])[)）.、．:：]\s*")


def restated(record: Record, asks: Callable[[Record, Sequence[str]], Any]) -> tuple[dict[str, Any], list[str]] | None:
    """({"question", "answer"}, the columns they are from); None where there are no options, or none is right.

    `asks` finds what is asked beside some columns. Raises Unusable("label_unreadable") where the mark names no option.
    """
    if isinstance(inside := record.get("question"), dict) and {"stem", "choices"} <= inside.keys():  # CommonsenseQA
        record = {**record, "question": inside["stem"], "choices": inside["choices"]}
    plain = {words.plain(key): key for key in record}
    offered = next((plain[name] for name in _LISTS if name in plain and record[plain[name]] not in (None, "")), "")
    columns = _columns(record)
    texts: dict[str, Any] = _offered(record[offered]) if offered else {}
    whole = record[offered] if offered and isinstance(record[offered], str) and len(texts) < 2 else ""
    if not offered:
        texts = {mark: record[key] for mark, key in columns.items() if record[key] not in (None, "")}
    if len(texts) < 2 and not whole:
        return None
    used = [offered, *columns.values()] if offered else list(columns.values())
    rights = [plain[name] for name in _RIGHT if name in plain and plain[name] not in used]
    right = next((key for key in rights if record[key] not in (None, "")), "")
    if not right:
        return None
    asked = asks(record, [*used, *rights])
    if not isinstance(asked, str) or not asked.strip():
        asked = next((record[plain[name]] for name in _BEGINNINGS if name in plain), None)
    if not isinstance(asked, str) or not asked.strip():
        return None
    if isinstance(told := record.get(plain.get("premise", "")), str) and told not in asked:  # COPA
        asked = f"{told}\n{asked}"
    lines = [whole] if whole else [f"{mark}. {text}" for mark, text in _unmarked(texts).items()]
    answer = _text(record[right]) if whole else _mark(record[right], texts, from_list=bool(offered))
    return {"question": "\n".join([asked, *lines]), "answer": answer}, [*used, right]


def _columns(record: Record) -> dict[str, str]:
    """Columns that are named alike but for a letter or a number, in order; the mark of each."""
    found: dict[tuple[str, bool], dict[str, str]] = {}
    for key, value in record.items():
        match = _COLUMN.match(key.strip())
        if not match or isinstance(value, (list, dict)) or (match["number"] and not match["stem"]):
            continue
        stem = (match["stem"] or "").lower()
        if match["letter"] and match["letter"].islower() and stem not in ("op", "option", "choice", "answer", "ending"):
            continue
        found.setdefault((stem, bool(match["letter"])), {})[match["letter"] or match["number"]] = key
    for (stem, lettered), named in found.items():
        marks = sorted(named)
        first = ord(marks[0].upper())
        if len(marks) < 2 or [ord(mark.upper()) for mark in marks] != list(range(first, first + len(marks))):
            continue
        if first not in map(ord, "A01") or (stem == "answer" and len(marks) < 3):  # two answers may be a preference
            continue
        if lettered or marks[0] == "1":
            return {mark.upper(): named[mark] for mark in marks}
        return {chr(ord("A") + int(mark)): named[mark] for mark in marks}
    return {}


def _offered(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("text"), list) and isinstance(value.get("label"), list):  # ARC
        value = dict(zip(map(str, value["label"]), value["text"], strict=False))
    if isinstance(value, str):
        value = listed(value)
    if isinstance(value, list) and all(isinstance(one, dict) and {"label", "text"} <= one.keys() for one in value):
        value = {str(one["label"]): one["text"] for one in value}
    if isinstance(value, list):
        value = {chr(ord("A") + number): one for number, one in enumerate(value[:26])}
    plain = isinstance(value, dict) and all(isinstance(one, (str, int, float)) for one in value.values())
    return value if plain else {}


def _unmarked(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Options without the letters that they begin with themselves."""
    own = [match[1] if isinstance(text, str) and (match := _OWN.match(text)) else "" for text in texts.values()]
    if own != list(texts):
        return dict(texts)
    return {mark: _OWN.sub("", text, count=1) for mark, text in texts.items()}


def _mark(value: Any, texts: Mapping[str, Any], from_list: bool) -> Any:
    """The right option's mark. A number counts from 0, unless the options are numbered from 1 themselves."""
    marks = list(texts)
    if isinstance(value, list):
        return "".join(str(_mark(one, texts, from_list)) for one in value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    said = _text(value)
    if said in marks:
        place = marks.index(said)
        if not isinstance(value, int) or not marks[0].isdigit():
            return marks[place]
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(marks):
            raise Unusable("label_unreadable")
        return marks[value]
    if said.upper() in marks:
        return said.upper()
    if said.isdigit() and not marks[0].isdigit():  # a text: lists count from 0, columns A, B, C from 1
        place = int(said) - (not from_list)
        if not 0 <= place < len(marks):
            raise Unusable("label_unreadable")
        return marks[place]
    same = [mark for mark, text in texts.items() if isinstance(text, str) and text.strip() == said]
    return same[0] if len(same) == 1 else value


def _text(value: Any) -> str:
    return str(value).strip()
