"""Rows inside something: each opened, whatever the columns inside are then taken for.

    row          {"row_idx": 0, "row": {…}}, as a hub's viewer gives rows out
    translation  {"translation": {"en": …, "zh": …}} (WMT)
    exported     a chat saved from ChatGPT or DeepSeek, a tree of messages of which one branch is shown
    chat         a chat saved from Open WebUI, with its turns inside
    tuning       Gemini's {"systemInstruction", "contents"}, OpenAI's {"input", "preferred_output", …}
    task         {"definition", "inputs", "targets"} (Natural Instructions)
    instance     {"instruction", "instances": [{"input", "output"}]} (Self-Instruct)
    numbered     images in columns image_1, image_2 …, which texts call `<image 1>` (MMMU)
    calls, traces  what programs write down when they ask a model, see `logs.py`
    boxes        places in an image beside the text, which marks them with `<bbox>` and `<ref-object>` (ms-swift)
    packed       a row in a column: as JSON text (RLHF-V), as an object (`_source` of Elasticsearch, FinQA's `qa`)

Each takes a raw row and returns what is inside, or None when the row is none of its kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from appliance.data import logs, words

Record = Mapping[str, Any]

_PLACE = re.compile("<ref-object>|<bbox>")
_IMAGE = re.compile(r"image[_ ]?(\d{1,3})", re.I)
_LONGEST = 10_000  # messages of one chat: a tree in a ring has no end


def opened(record: Record) -> Record:
    """What is inside a row; the row itself when it is of none of these kinds."""
    for kind in _KINDS:
        if (inside := kind(record)) is not None:
            return inside
    return record


def _row(record: Record) -> Record | None:
    inside = record.get("row")
    return inside if isinstance(inside, dict) and "row_idx" in record else None


def _translation(record: Record) -> Record | None:
    inside = record.get("translation")
    if not isinstance(inside, dict) or len(inside) < 2 or not all(isinstance(one, str) for one in inside.values()):
        return None
    return inside


def _exported(record: Record) -> Record | None:
    nodes = record.get("mapping")
    if not isinstance(nodes, dict) or not all(isinstance(one, dict) and "parent" in one for one in nodes.values()):
        return None
    shown = record.get("current_node") or next(
        (name for name, node in reversed(nodes.items()) if not node.get("children")), None
    )
    turns: list[dict[str, Any]] = []
    for _step in range(_LONGEST):
        node = nodes.get(shown) if isinstance(shown, str) else None
        if not isinstance(node, dict):
            break
        said = node.get("message")
        if isinstance(said, dict) and (turn := _turn(said)):
            turns.append(turn)
        shown = node["parent"]
    return {"conversation": turns[::-1]}


def _turn(said: Mapping[str, Any]) -> dict[str, Any] | None:
    author, content = said.get("author"), said.get("content")
    role = author.get("role") if isinstance(author, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else None
    if isinstance(pieces := said.get("fragments"), list):  # DeepSeek
        named = [(one.get("type"), one.get("content")) for one in pieces if isinstance(one, dict)]
        role = "user" if any(kind == "REQUEST" for kind, _text in named) else "assistant"
        parts = [text for kind, text in named if kind in ("REQUEST", "RESPONSE")]
    text = "\n".join(one for one in parts or () if isinstance(one, str))
    return {"role": role, "content": text} if role in ("user", "assistant") and text.strip() else None


def _tuning(record: Record) -> Record | None:
    if isinstance(told := record.get("systemInstruction"), dict) and "contents" in record:
        parts = told.get("parts")
        texts = [one.get("text") for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
        text = "".join(one for one in texts if isinstance(one, str))
        return {**{key: one for key, one in record.items() if key != "systemInstruction"}, "system": text}
    asked = record.get("input")
    if isinstance(asked, dict) and "messages" in asked and "preferred_output" in record:
        return {
            "prompt": asked["messages"],
            "chosen": record["preferred_output"],
            "rejected": record.get("non_preferred_output"),
            **({"tools": asked["tools"]} if asked.get("tools") else {}),
        }
    return None


def _task(record: Record) -> Record | None:
    parts = [record.get(word) for word in ("definition", "inputs", "targets")]
    if not all(isinstance(one, str) for one in parts):
        return None
    return {"instruction": parts[0], "input": parts[1], "output": parts[2]}


def _instance(record: Record) -> Record | None:
    """An instruction with its one instance; of several nobody could tell which is meant."""
    one = record.get("instances")
    if not isinstance(one, list) or len(one) != 1 or not isinstance(one[0], dict) or "output" not in one[0]:
        return None
    return {"instruction": record["instruction"], **one[0]} if "instruction" in record else None


def _chat(record: Record) -> Record | None:
    inside = record.get("chat")
    turns = inside.get("messages") if isinstance(inside, dict) else None
    return {"conversation": turns} if isinstance(turns, list) else None


def _numbered(record: Record) -> Record | None:
    found = {key: match[1] for key in record if (match := _IMAGE.fullmatch(key))}
    if not found or {"image", "images"} & record.keys():
        return None
    rest = {key: one for key, one in record.items() if key not in found}
    return {**rest, "images": {f"<image {number}>": record[key] for key, number in found.items()}}


def _boxes(record: Record) -> Record | None:
    beside, turns = record.get("objects"), record.get("messages")
    if not isinstance(beside, dict) or not isinstance(turns, list):
        return None
    lists = (("<ref-object>", beside.get("ref")), ("<bbox>", beside.get("bbox")))
    left = {mark: list(values) if isinstance(values, list) else [] for mark, values in lists}

    def written(match: re.Match[str]) -> str:
        value = left[match[0]].pop(0) if left[match[0]] else match[0]
        return value if isinstance(value, str) else json.dumps(value)

    told = [
        {**one, "content": _PLACE.sub(written, one["content"])}
        if isinstance(one, dict) and isinstance(one.get("content"), str)
        else one
        for one in turns
    ]
    return {**{key: value for key, value in record.items() if key != "objects"}, "messages": told}


def _packed(record: Record) -> Record | None:
    if _reads(record):
        return None
    found = {}
    for key, one in record.items():
        inside: Any = one
        if isinstance(one, str) and one.lstrip()[:2] == '{"':
            try:
                inside = json.loads(one)
            except (ValueError, RecursionError):
                continue
        if isinstance(inside, dict) and _reads(inside):
            found[key] = inside
    if len(found) != 1:  # of several nobody could tell which is meant
        return None
    ((name, row),) = found.items()
    return {**{other: value for other, value in record.items() if other != name}, **row}


def _reads(record: Record) -> bool:
    """Whether the words of a row say who asks and who answers."""
    found = words.match(record).keys()
    return "turns" in found or {"question", "answer"} <= found or {"chosen", "rejected"} <= found


_KINDS: tuple[Callable[[Record], Record | None], ...] = (
    _row, _translation, _exported, _tuning, _task, _instance, _chat, _numbered, _boxes, logs.calls, logs.traces,
    _packed,
)  # fmt: skip
