"""What programs write down when they ask a model: the request and the answer to it, as one conversation.

    calls     {"request": {"model", "messages", "tools"}, "response": {"choices": [{"message"}]}}, perhaps in a "body"
              (OpenAI, its batches and stored completions, Anthropic, Ollama, proxies), perhaps as JSON text
    traces    {"input": messages, "output": message} (Langfuse), {"inputs": {…}, "outputs": {…}} (LangSmith)
    messages  of LangChain, with their text in `data` or `kwargs`, and of OpenAI's Responses

An answer without what was asked comes out as that: a conversation in which nobody asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
Turns = list[dict[str, Any]]

_ASKED = ("request", "request_body", "body", "kwargs", "input", "inputs", "prompt", "params")
_ANSWERED = ("response", "response_body", "output", "outputs", "completion", "result")
_BESIDE = ("tools", "functions", "system")


def calls(record: Record) -> Record | None:
    """A request and its answer; None where the row is neither."""
    request = next((found for name in _ASKED if (found := _request(record.get(name)))), None)
    answers = [name for name in _ANSWERED if name in record]
    answer = next((said for name in answers if (said := _answer(record[name])) is not None), None)
    if answer is None and "choices" in record:
        answer = _answer(record)
    if request is None:
        asked = _turns(_read(record.get("messages") or record.get("input")))
        if answer is None or (asked and asked[-1].get("role") not in ("user", "human", "tool")):
            return None
        if not asked and not _bare(record, answers):
            return None
        request = {"messages": asked or []}
    elif answer is None:
        texts = [record[name] for name in answers if isinstance(record[name], str)]
        # nothing came back: the row is left out for that
        answer = [{"role": "assistant", "content": texts[0] if texts else ""}] if answers else []
    beside = {name: part for name in _BESIDE if (part := request.get(name) or record.get(name))}
    return {**beside, "messages": [*request["messages"], *answer]}


def traces(record: Record) -> Record | None:
    """What went into a program and what came out of it, as columns of one row."""
    given, made = _read(record.get("inputs")), _read(record.get("outputs"))
    if not isinstance(given, dict) or not isinstance(made, dict) or not given or not made:
        return None
    if len(given) == len(made) == 1:
        return {"question": next(iter(given.values())), "answer": next(iter(made.values()))}
    return {**given, **made}


def _bare(record: Record, answers: list[str]) -> bool:
    """Whether a row is an answer by itself, as an interface sent it."""
    inside = [record, *(_inside(record[name]) for name in answers)]
    return any(isinstance(one, dict) and "choices" in one and _answer(one) is not None for one in inside)


def _read(value: Any) -> Any:
    """A value, or what stands in it as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _inside(value: Any) -> Any:
    """A value without what a connection put around it."""
    value = _read(value)
    body = _read(value.get("body")) if isinstance(value, dict) else None
    return body if isinstance(body, dict) else value


def _request(value: Any) -> dict[str, Any] | None:
    """A request with its `messages`; None for anything else."""
    value = _inside(value)
    if not isinstance(value, dict):
        return None
    if (turns := _turns(value.get("messages"))) is not None:
        return {**value, "messages": turns}
    asked = value.get("input", value.get("prompt")) if "model" in value else None
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else _turns(asked)
    if turns is None:
        return None
    told = value.get("instructions")
    return {**value, "messages": turns, **({"system": told} if isinstance(told, str) else {})}


def _turns(value: Any) -> Turns | None:
    """Messages, whoever wrote them; None where there are none."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):  # LangChain: one of several requests
        value = value[0]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        return None
    turns = [_turn(one) for one in value]
    return turns if all("role" in one or "from" in one for one in turns) else None


def _turn(one: dict[str, Any]) -> dict[str, Any]:
    """One message in the usual words; any other as it is."""
    kind, inside = one.get("type"), one.get("data", one.get("kwargs"))
    if kind == "constructor" and isinstance(one.get("id"), list) and one["id"]:
        kind = str(one["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower()
    if isinstance(inside, dict) and "content" in inside:
        more = inside.get("additional_kwargs")
        called = inside.get("tool_calls") or (more.get("tool_calls") if isinstance(more, dict) else None)
        return {"role": kind, "content": inside["content"], **({"tool_calls": called} if called else {})}
    if kind == "function_call":
        return {"role": "assistant", "tool_calls": [one]}
    if kind == "function_call_output":
        return {"role": "tool", "content": one.get("output")}
    return {**one, "role": kind} if "role" not in one and isinstance(kind, str) and "content" in one else one


def _answer(value: Any) -> Turns | None:
    """What came back, as turns; None for what is no answer of a model's."""
    value = _inside(value)
    if isinstance(value, list):
        return _turns(value)
    if not isinstance(value, dict):
        return None
    first: Any = value.get("choices", value.get("generations"))
    while isinstance(first, list) and first:
        first = first[0]
    for one in (first, value):
        if isinstance(one, dict) and isinstance(one.get("message"), dict):
            return [{"role": "assistant", **_turn(one["message"])}]
    if isinstance(first, dict) and isinstance(first.get("text"), str) and "label" not in first:
        return [{"role": "assistant", "content": first["text"]}]
    if isinstance(value.get("output"), list):  # OpenAI's Responses: what was thought, called and said
        return [_turn(one) for one in value["output"] if isinstance(one, dict) and one.get("type") != "reasoning"]
    if (turns := _turns(value.get("messages"))) is not None:
        return turns
    if value.get("role") in ("assistant", "model") or (value.keys() <= {"content", "tool_calls"} and value):
        return [{"role": "assistant", **value}]
    return None
