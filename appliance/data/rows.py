"""The internal form of a row, and the checks that every row has to pass.

A row is a dictionary that TRL takes as it is:

    sft       {"messages": [message …], "tools": [tool …] (optional)}
    dpo       {"prompt": [message …], "chosen": [message …], "rejected": [message …], "tools": … (optional)}
    kto       {"prompt": [message …], "completion": [message …], "label": bool, "tools": … (optional)}
    pretrain  {"text": str}

    Any of them may have "images": [name …], in the order of the `<image>` marks in their contents: paths beside the
    data file, addresses, or data:image/…;base64.

    message   {"role": "system" | "user" | "assistant" | "tool", "content": str, "tool_calls": [call …], "weight": 0}
    call      {"type": "function", "function": {"name": str, "arguments": object}}
    tool      {"type": "function", "function": {"name": str, "description": str, "parameters": JSON schema}}

Only an assistant's message has `tool_calls`, and `weight` where it is read and not learned.
A conversation may begin with one system message; then user and assistant take turns, with tool messages only after an
assistant's tool calls; it ends with the assistant. `prompt` is a conversation without its last answer.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

Row = dict[str, Any]
Message = dict[str, Any]
TASKS = ("sft", "dpo", "kto", "pretrain")
PARTS = ("messages", "prompt", "chosen", "rejected", "completion")  # where messages stand


class Unusable(Exception):
    """A raw row can't become a row; `reason` is one of `check.REASONS`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def text_of(value: Any) -> str:
    """A field as text; nothing is "". Raises Unusable for lists and objects other than text parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
    if isinstance(value, list) and all(_is_text(part) for part in value):
        return "".join(text_of(part.get("text")) for part in value)
    raise Unusable("not_text")


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type") == "text" or ("text" in part and "type" not in part))


def message(role: str, content: str, calls: list[dict[str, Any]] | None = None) -> Message:
    """One message; tool calls only where there are some."""
    return {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}


def calls_of(value: Any) -> list[dict[str, Any]]:
    """Tool calls from a list, an object or JSON text. Raises Unusable("tool_call_unreadable")."""
    value = parsed(value, "tool_call_unreadable")
    calls = []
    for call in value if isinstance(value, list) else [value]:
        inner = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
            raise Unusable("tool_call_unreadable")
        arguments = next((inner[key] for key in ("arguments", "parameters", "input", "args") if key in inner), None)
        if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
            arguments = {}
        arguments = parsed(arguments, "tool_call_unreadable")
        if not isinstance(arguments, dict):
            raise Unusable("tool_call_unreadable")
        calls.append({"type": "function", "function": {"name": inner["name"], "arguments": arguments}})
    if not calls:
        raise Unusable("tool_call_unreadable")
    return calls


def tools_of(value: Any) -> list[dict[str, Any]]:
    """Tool descriptions from a list or JSON text, each in OpenAI's wrapping. Raises Unusable("tools_unreadable")."""
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        return []
    value = parsed(value, "tools_unreadable")
    tools = []
    listed_ = value if isinstance(value, list) else [value]
    for tool in (tool for one in listed_ for tool in _declared(parsed(one, "tools_unreadable"))):
        inner = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise Unusable("tools_unreadable")
        if "input_schema" in inner:  # Anthropic's word
            inner = {("parameters" if key == "input_schema" else key): part for key, part in inner.items()}
        tools.append({"type": "function", "function": inner})
    return tools


def _declared(tool: Any) -> list[Any]:
    """Gemini's tools declare several functions each."""
    names = ("functionDeclarations", "function_declarations")
    found = next((tool[name] for name in names if name in tool), None) if isinstance(tool, dict) else None
    return found if isinstance(found, list) else [tool]


def parsed(value: Any, reason: str) -> Any:
    """A value that may stand as JSON text. Raises Unusable(reason)."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Unusable(reason) from None


def literal(text: str, reason: str) -> Any:
    """A list or an object as Python writes it. Raises Unusable(reason)."""
    try:
        if len(text) > 1 << 20:
            raise ValueError
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        raise Unusable(reason) from None


def listed(value: Any) -> list[Any] | None:
    """A list, also when it stands as JSON (or as Python writes it) in a table's cell; None for everything else."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            if value.lstrip()[1:].lstrip()[:1] not in ("{", "'", "["):
                return None
            try:
                value = literal(value, "not_text")
            except Unusable:
                return None
    return value if isinstance(value, list) else None


def joined(messages: list[Message]) -> list[Message]:
    """The same conversation: an answer's text and the call after it in one message, one system message."""
    result: list[Message] = []
    for one in messages:
        last = result[-1] if result else {}
        both = one["role"] == last.get("role") == "assistant" and one.get("weight") == last.get("weight")
        if both and one.get("tool_calls") and not one["content"]:
            result[-1] = {**last, "tool_calls": [*last.get("tool_calls", []), *one["tool_calls"]]}
        elif one["role"] == "system" and len(result) == 1 and last["role"] == "system":  # and the developer's
            result[0] = message("system", f"{last['content']}\n\n{one['content']}".strip())
        else:
            result.append(one)
    if result and result[0]["role"] == "system" and not result[0]["content"].strip():
        result.pop(0)
    return result


def _alternate(messages: list[Message]) -> bool:
    """Whether this is the plainest conversation: perhaps a system message, then user and assistant in turn."""
    wanted = "user"
    for one in messages:
        if len(one) != 2 or not (text := one["content"]) or text.isspace():
            return False
        if one["role"] != wanted:
            if one["role"] != "system" or one is not messages[0]:
                return False
        else:
            wanted = "user" if wanted == "assistant" else "assistant"
    return wanted == "user" and len(messages) > 1


def ordered(messages: list[Message]) -> list[Message]:
    """The conversation, joined, when it is one that can be learned from.

    Raises Unusable: empty_question, nobody_asks, empty_answer, roles_out_of_order, last_not_assistant, nothing_learned.
    """
    if _alternate(messages):
        return messages
    messages = joined(messages)
    if not messages:
        raise Unusable("empty_question")
    if all(one["role"] == "assistant" for one in messages):
        raise Unusable("nobody_asks")
    before: Message = {"role": "start"}
    for one in messages:
        role, previous = one["role"], before["role"]
        fits = {
            "system": previous == "start",
            "user": previous in ("start", "system", "assistant") and not before.get("tool_calls"),
            "assistant": previous in ("user", "tool"),
            "tool": previous == "tool" or bool(before.get("tool_calls")),
        }[role]
        if not fits:
            raise Unusable("roles_out_of_order")
        if role == "user" and not one["content"].strip():
            raise Unusable("empty_question")
        if role == "assistant" and not one["content"].strip() and not one.get("tool_calls"):
            raise Unusable("empty_answer")
        before = one
    if before["role"] != "assistant":
        raise Unusable("last_not_assistant")
    if all(one.get("weight") == 0 for one in messages if one["role"] == "assistant"):
        raise Unusable("nothing_learned")
    return messages


def digest(row: Row) -> bytes:
    """A row's content as 8 bytes, whatever the order of keys: the same in every process and every run."""
    try:
        content = _sorted()(row)
    except UnicodeEncodeError:  # half of a pair of surrogates
        content = json.dumps(row, sort_keys=True).encode()
    return blake2b(content, digest_size=8).digest()


@cache
def _sorted() -> Callable[[Any], bytes]:
    import msgspec  # not there in the training environment, where workers read this file

    return msgspec.json.Encoder(order="sorted").encode


def strings(value: Any) -> Iterator[str]:
    """Every text in a row, keys of objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def contents(row: Row) -> Iterator[str]:
    """The texts that a person wrote: contents of messages, or the plain text."""
    if "text" in row:
        yield row["text"]
    for part in PARTS:
        for one in row.get(part, ()):
            yield one["content"]
