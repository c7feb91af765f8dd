"""Tool calls that stand as text in an answer, and tools that are listed in a system message.

Some agent sets teach one way of writing calls: `[weather(city="Rome"), time()]` (ToolACE) or `Action: weather` and
`Action Input: {"city": "Rome"}` (ToolBench, ReAct). Here they become calls proper, so that every model family gets
them as its own template writes them. Only an answer that a tool's turn follows is read so, or one that calls a tool
which the system message lists.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from appliance.data.rows import Message, Unusable, calls_of, message, tools_of

_REACT = re.compile(r"(?:^|\n)Action:[ \t]*([^\n]+)\n+Action Input:[ \t]*(\{.*)$", re.S)
_THOUGHT = re.compile(r"^\s*Thought:[ \t]*")
_NAMES = {"true": True, "false": False, "null": None}
_LONGEST = 1 << 16  # characters of a text that may be a call


def with_calls(messages: list[Message], given: list[dict[str, Any]]) -> tuple[list[Message], list[dict[str, Any]]]:
    """The conversation with its written calls as calls, and the tools: those `given`, or that its system message lists.

    What is no call, or can't be read as one, stays as it is.
    """
    begins = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    before, tools, after = listed_tools(begins)
    known = {tool["function"]["name"] for tool in tools}
    found = list(messages)
    for number, one in enumerate(messages):
        if one["role"] != "assistant" or one.get("tool_calls"):
            continue
        followed = number + 1 < len(messages) and messages[number + 1]["role"] == "tool"
        if not followed and not known:
            continue
        said, calls = calls_in(one["content"])
        if calls and (followed or {call["function"]["name"] for call in calls} <= known):
            found[number] = message("assistant", said, calls)
    called = any(one.get("tool_calls") for one in found)
    if tools and called and (not given or known <= {tool["function"]["name"] for tool in given}):
        # What stood behind the list told how to write a call; the template tells it in its own way.
        rest = "" if "(" in after or "<tool_call>" in after else after
        before, rest = before.strip().removesuffix("<tools>"), rest.strip(" .\n").removeprefix("</tools>")
        found[0] = message("system", "\n".join(part for part in (before.strip(), rest.strip(" .\n")) if part))
    return found, given or (tools if called else [])


def calls_in(text: str) -> tuple[str, list[dict[str, Any]]]:
    """(what is said beside, calls); no calls where there are none."""
    if len(text) > _LONGEST:
        return text, []
    if match := _REACT.search(text):
        try:
            arguments, _end = json.JSONDecoder().raw_decode(match[2])
            calls = calls_of({"name": match[1].strip(), "arguments": arguments})
        except (ValueError, RecursionError, Unusable):
            return text, []
        return _THOUGHT.sub("", text[: match.start()]).strip(), calls
    bare = text.strip()
    if not (bare.startswith("[") and bare.endswith(")]")):
        return text, []
    calls = []
    for piece in _pieces(bare[1:-1]):
        name, _open, inside = piece.strip().partition("(")
        if not name.strip() or not inside.endswith(")") or (arguments := _arguments(inside[:-1])) is None:
            return text, []
        calls.append({"type": "function", "function": {"name": name.strip(), "arguments": arguments}})
    return "", calls


def _pieces(text: str, depth: int = 0) -> list[str]:
    """Split at the commas that are in no brackets and no quotes; quotes count inside a call's brackets (`depth` 1)."""
    pieces, open_, quote, start, skip = [], 0, "", 0, False
    for place, letter in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "\"'" and open_ + depth:
            quote = letter
        elif letter in "([{":
            open_ += 1
        elif letter in ")]}":
            open_ -= 1
        elif letter == "," and not open_:
            pieces.append(text[start:place])
            start = place + 1
    return [*pieces, text[start:]]


def _arguments(text: str) -> dict[str, Any] | None:
    """Keyword arguments as Python writes them, with JSON's true, false and null; None where they are anything else."""
    found: dict[str, Any] = {}
    for piece in _pieces(text, depth=1) if text.strip() else ():
        name, equals, value = piece.partition("=")
        if not equals or not name.strip():
            return None
        try:
            found[name.strip()] = _value(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
    return found


def _value(text: str) -> Any:
    if text in _NAMES:
        return _NAMES[text]
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def listed_tools(text: str) -> tuple[str, list[dict[str, Any]], str]:
    """(text before, tools, text behind) of a system message that lists tools as JSON; no tools where it lists none."""
    if len(text) > 4 * _LONGEST:
        return text, [], ""
    for start in (text.find("[{"), text.find("{")):
        try:
            value, end = _objects(text, start) if start >= 0 else ([], 0)
            described = all(isinstance(one, dict) and ("parameters" in one or "function" in one) for one in value)
            if value and described:
                return text[:start], tools_of(value), text[end:]
        except (ValueError, RecursionError, Unusable):
            continue
    return text, [], ""


def _objects(text: str, start: int) -> tuple[list[Any], int]:
    """A list, or objects one after the other (Glaive, Qwen), and where they end. Raises ValueError."""
    decode = json.JSONDecoder().raw_decode
    value, end = decode(text, start)
    if isinstance(value, list):
        return value, end
    found = [value]
    while text[end:].lstrip(", \n")[:1] == "{":
        value, end = decode(text, text.index("{", end))
        found.append(value)
    return found, end
