"""What a request's body may hold, and how a refusal is told. Standard library only: the guard runs this.

A list of the fields that are let through, each with its check; everything else is refused by name. The engines turn
some wrong values into an internal error (transformers: no `messages`, a word as a temperature), and some right ones
into a way in: a picture's address makes the server read a file or ask another host, a chat template is a program.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

_TEMPLATE_SWITCHES = {"enable_thinking", "thinking", "reasoning_effort"}
_ROLES = {"system", "developer", "user", "assistant", "tool"}
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_MOST_TOOLS, _MOST_STOPS, _LONGEST_STOP, _DEEPEST = 128, 16, 1000, 32


class Refused(Exception):
    """A request that gets an error instead of an answer, in OpenAI's form."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str = "",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = list(headers)

    def as_dict(self) -> dict[str, Any]:
        """{"error": {"message", "type", "param", "code"}}"""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code or None}}


def parse(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Refuses what JSON doesn't know (NaN) and text that can't be written as UTF-8."""
    try:
        value = json.loads(body.decode())
        # NaN and a lone half of a surrogate pair pass the parser, and break an engine.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body is not a JSON object.", code="invalid_json")
    return value


# --- one field -------------------------------------------------------------------------------------------------------

# What is wrong with a value, or None.
Check = Callable[[Any], str | None]


def _number(low: float, high: float, whole: bool = False) -> Check:
    def wrong(value: Any) -> str | None:
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        return (
            None if right and low <= value <= high else f"must be a {'whole ' * whole}number from {low:g} to {high:g}"
        )

    return wrong


def _kind(kind: type, words: str) -> Check:
    return lambda value: None if isinstance(value, kind) else f"must be {words}"


def _only(values: set[Any], words: str) -> Check:
    return lambda value: None if isinstance(value, str | bool) and value in values else f"must be {words}"


def _stop(value: Any) -> str | None:
    stops = [value] if isinstance(value, str) else value
    right = isinstance(stops, list) and len(stops) <= _MOST_STOPS
    right = right and all(isinstance(stop, str) and 0 < len(stop) <= _LONGEST_STOP for stop in stops)
    return None if right else f"must be a text or a list of at most {_MOST_STOPS} texts"


def _stream_options(value: Any) -> str | None:
    known = {"include_usage", "include_obfuscation"}
    right = isinstance(value, dict) and value.keys() <= known and all(isinstance(v, bool) for v in value.values())
    return None if right else "may hold only include_usage, true or false"


def _logit_bias(value: Any) -> str | None:
    right = isinstance(value, dict) and len(value) <= 1024
    right = right and all(key.isascii() and key.isdigit() and len(key) < 10 for key in value)
    right = right and all(_number(-100, 100)(bias) is None for bias in value.values())
    return None if right else "must map token numbers to numbers from -100 to 100"


def _template_switches(value: Any) -> str | None:
    right = isinstance(value, dict) and value.keys() <= _TEMPLATE_SWITCHES
    right = right and all(isinstance(switch, bool | str) for switch in value.values())
    return None if right else f"may hold only {', '.join(sorted(_TEMPLATE_SWITCHES))}"


def _schema(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "must be a JSON schema"
    return f"may not be nested deeper than {_DEEPEST}" if _deeper(value, _DEEPEST) else None


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inner) and (levels == 0 or any(_deeper(each, levels - 1) for each in inner))


def _tools(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) > _MOST_TOOLS:
        return f"must be a list of at most {_MOST_TOOLS} functions"
    for tool in value:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not _is_name(function.get("name")):
            return "must hold functions: {type: function, function: {name: letters, digits, _ . -, …}}"
        parameters = function.get("parameters")
        if parameters is not None and (wrong := _schema(parameters)):
            return f"has a function {function['name']} whose parameters {wrong}"
        if not isinstance(function.get("description", ""), str | None):
            return f"has a function {function['name']} whose description is no text"
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _tool_choice(value: Any) -> str | None:
    if isinstance(value, str) and value in ("none", "auto", "required"):
        return None
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    right = isinstance(function, dict) and _is_name(function.get("name"))
    return None if right else "must be none, auto, required, or {type: function, function: {name}}"


def _response_format(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return None
    described = value.get("json_schema") if kind == "json_schema" else None
    if not isinstance(described, dict) or "schema" not in described:
        return "must be {type: text | json_object}, or {type: json_schema, json_schema: {name, schema}}"
    wrong = _schema(described["schema"])
    return f"has a schema that {wrong}" if wrong else None


_MANY = 2**31 - 1
_SAMPLING: dict[str, Check] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _number(-1, 100_000, whole=True),
    "min_p": _number(0, 1),
    "repetition_penalty": _number(0.1, 2),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logit_bias": _logit_bias,
    "max_tokens": _number(1, _MANY, whole=True),
    "n": _number(1, 128, whole=True),
    "seed": _number(-(2**63), 2**63 - 1, whole=True),
    "stop": _stop,
    "stream": _kind(bool, "true or false"),
    "stream_options": _stream_options,
}
_CHAT: dict[str, Check] = {
    **_SAMPLING,
    "max_completion_tokens": _number(1, _MANY, whole=True),
    "logprobs": _kind(bool, "true or false"),
    "top_logprobs": _number(0, 20, whole=True),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _kind(bool, "true or false"),
    "response_format": _response_format,
    "reasoning_effort": _only({"none", "minimal", "low", "medium", "high"}, "none, minimal, low, medium or high"),
    "chat_template_kwargs": _template_switches,
}
_COMPLETIONS: dict[str, Check] = {
    **_SAMPLING,
    "logprobs": _number(0, 20, whole=True),
    "echo": _only({False}, "false here"),
    "best_of": _number(1, 1, whole=True),
}
# What says something about the request and nothing to a model: taken, and not handed on.
_LABELS = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
}  # fmt: skip
# Known with the one value that asks for nothing.
_NOTHING = {"echo", "best_of"}
_INSTEAD = {"functions": "tools", "function_call": "tool_choice"}


def check(path: str, request: dict[str, Any]) -> None:
    """Raises Refused (400) on the first field that no engine could use; takes out what no engine needs."""
    known = _CHAT if path == CHAT else _COMPLETIONS
    if not isinstance(request.get("model"), str):
        raise _wrong("model", "must be the name of a model; GET /v1/models lists them")
    for field, value in list(request.items()):
        if field in ("model", "messages" if path == CHAT else "prompt"):
            continue
        text_only = field == "modalities" and value == ["text"]
        if value is None or field in _LABELS or text_only:  # None: a client's way of leaving it out
            del request[field]
        elif field in known:
            if wrong := known[field](value):
                raise _wrong(field, wrong)
            if field in _NOTHING:
                del request[field]
        elif field in _INSTEAD:
            raise _wrong(field, f"is not accepted here: use {_INSTEAD[field]}", "unsupported_parameter")
        else:
            raise _wrong(field[:100], "is not accepted here", "unsupported_parameter")
    _check_together(request)
    if path == CHAT:
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages:
            raise _wrong("messages", "must be a list with at least one message")
        request["messages"] = [_checked(f"messages[{number}]", message) for number, message in enumerate(messages)]
    else:
        _check_prompt(request.get("prompt"))


def _wrong(field: str, sentence: str, code: str = "invalid_value") -> Refused:
    return Refused(400, f"{field} {sentence}.", field, code)


def _check_together(request: dict[str, Any]) -> None:
    """Fields that mean something only beside another one."""
    if "stream_options" in request and not request.get("stream"):
        raise _wrong("stream_options", "is only for stream: true")
    if "top_logprobs" in request and not request.get("logprobs"):
        raise _wrong("top_logprobs", "is only for logprobs: true")
    names = {tool["function"]["name"] for tool in request.get("tools") or []}
    choice = request.get("tool_choice")
    if choice not in (None, "none", "auto") and not names:
        raise _wrong("tool_choice", "is only for a request with tools")
    if isinstance(choice, dict) and choice["function"]["name"] not in names:
        raise _wrong("tool_choice", "names a function that is not among the tools")


# --- messages --------------------------------------------------------------------------------------------------------

_MESSAGE_FIELDS = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"}
_ANSWER_FIELDS = {"refusal", "annotations", "audio", "function_call"}  # in an answer that a client sends back


def _checked(where: str, message: Any) -> dict[str, Any]:
    """The message with what an engine may see of it."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _wrong(where, "must be an object with a role")
    if message["role"] not in _ROLES:
        raise _wrong(f"{where}.role", f"must be one of {', '.join(sorted(_ROLES))}")
    kept = {}
    for field, value in message.items():
        if value is None or (field in _ANSWER_FIELDS and not value):
            continue
        if field not in _MESSAGE_FIELDS:
            raise _wrong(f"{where}.{field}"[:200], "is not accepted here", "unsupported_parameter")
        if field not in ("content", "tool_calls") and not isinstance(value, str):
            raise _wrong(f"{where}.{field}", "must be a text")
        kept[field] = value
    content = kept.setdefault("content", "")
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] != "text":
                raise _wrong(f"{where}.content", "may hold only parts of type text")
            if not isinstance(part["text"], str):
                raise _wrong(f"{where}.content", "may hold only parts of type text")
    elif not isinstance(content, str):
        raise _wrong(f"{where}.content", "must be a text")
    calls = kept.get("tool_calls")
    if calls is not None and (not isinstance(calls, list) or not all(_is_call(call) for call in calls)):
        raise _wrong(f"{where}.tool_calls", "must be function calls with a name and arguments as a JSON text")
    if calls == []:  # an empty list makes some templates write the start of a call
        del kept["tool_calls"]
    return kept


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return False
    try:
        return isinstance(json.loads(function["arguments"]), dict)
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def _check_prompt(prompt: Any) -> None:
    """A text, a list of texts, a list of token numbers, or a list of such lists; nothing empty."""

    def numbers(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(type(one) is int and 0 <= one < _MANY for one in value)

    texts = isinstance(prompt, list) and 0 < len(prompt) <= 128 and all(isinstance(one, str) and one for one in prompt)
    lists = isinstance(prompt, list) and 0 < len(prompt) <= 128 and all(numbers(one) for one in prompt)
    if not ((isinstance(prompt, str) and prompt) or texts or numbers(prompt) or lists):
        raise _wrong("prompt", "must be a text that is not empty, a list of texts, or token numbers")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address (a name other than localhost counts as one that others reach)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
