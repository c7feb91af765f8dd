"""OpenAI's Harmony (gpt-oss): an answer comes through channels, and what is thought, called and said are turns of
their own. As messages with a `channel`, or written out with `<|start|>`, `<|channel|>` and `<|message|>`.
"""

from __future__ import annotations

import re
from typing import Any

# Nothing in it can be matched in two ways: it takes as long as the text is.
_WRITTEN = re.compile(
    r"<\|start\|>([\w.]*)([^<]*(?:<\|(?:channel|constrain)\|>[^<]*)*)<\|message\|>"
    r"(.*?)(?=<\|(?:start|end|return|call)\|>|$)",
    re.S,
)
_CHANNEL = re.compile(r"<\|channel\|>(\w+)")
_TO = re.compile(r"\bto=([\w.]+)")


def is_heard(raw: list[Any]) -> bool:
    """Whether these turns have channels: the last of them has one, as an answer."""
    return bool(raw) and type(raw[-1]) is dict and "channel" in raw[-1]


def heard(raw: list[Any]) -> list[Any]:
    """Turns without channels: what was thought belongs to what was then called or said."""
    turns: list[Any] = []
    thought: list[str] = []
    for one in raw:
        if not isinstance(one, dict) or one.get("role") != "assistant":
            turns.append(one)
            thought = []
            continue
        turn = {key: value for key, value in one.items() if key not in ("channel", "recipient", "content_type")}
        if one.get("channel") == "analysis" and isinstance(said := _text(one.get("content")), str):
            thought.append(said)
            continue
        to = one.get("recipient")
        if isinstance(to, str) and to.startswith("functions."):
            call = {"name": to.removeprefix("functions."), "arguments": _text(one.get("content"))}
            turn = {"role": "assistant", "tool_calls": [call]}
        last = turns[-1] if turns and isinstance(turns[-1], dict) and not thought else {}
        if last.get("role") == "assistant" and not {"tool_calls"} & {*last, *turn}:  # what was said beforehand
            turns[-1] = {**last, "content": f"{_text(last.get('content'))}\n\n{_text(turn.get('content'))}"}
            continue
        turns.append({**turn, **({"thinking": "\n".join(thought)} if thought else {})})
        thought = []
    return turns


def written(text: str) -> list[Any] | None:
    """The turns of a text in this format; None for any other."""
    if "<|start|>" not in text or "<|message|>" not in text:
        return None
    turns: list[Any] = []
    for name, head, said in _WRITTEN.findall(text):
        turn = {"role": "tool" if "." in name else name, "content": said}
        if name == "assistant":
            channel, to = _CHANNEL.search(head), _TO.search(head)
            turn |= {"channel": channel[1]} if channel else {}
            turn |= {"recipient": to[1]} if to else {}
        turns.append(turn)
    return heard(turns)


def _text(value: Any) -> Any:
    """A content's text, where it is in parts too."""
    if isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in value):
        return "".join(one["text"] for one in value)
    return value
