"""What a request's body may hold, and how a refusal is told. Standard library only: the guard runs this.

The engines turn some wrong values into an internal error (transformers: no `messages`, a word as a temperature), and
some right ones into a way in: a picture's address makes the server read a file or ask another host, a chat template is
a program. Hence text only, and none of the engines' own switches.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

# (smallest, largest); a number may be whole or not.
_NUMBERS: dict[str, tuple[int, int]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
_WHOLE: dict[str, tuple[int, int]] = {
    "max_tokens": (1, 2**31 - 1),
    "max_completion_tokens": (1, 2**31 - 1),
    "n": (1, 128),
    "seed": (-(2**63), 2**63 - 1),
}
_KINDS = {"stream": (bool, "true or false"), "tools": (list, "a list"), "stream_options": (dict, "an object")}
_INTERNAL = {
    "generation_config", "chat_template", "kv_transfer_params", "mm_processor_kwargs", "media_io_kwargs", "vllm_xargs",
}  # fmt: skip
_TEMPLATE_SWITCHES = {"enable_thinking", "thinking", "reasoning_effort"}


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


def check(path: str, request: dict[str, Any]) -> None:
    """Raises Refused (400) on the first field that no engine could use."""
    if not isinstance(request.get("model"), str):
        raise _wrong("model", "must be the name of a model; GET /v1/models lists them")
    for field in _INTERNAL & request.keys():
        raise _wrong(field, "is not accepted here")
    for field, value in request.items():
        if value is not None:
            _check_field(field, value)
    if path == "/v1/chat/completions":
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages:
            raise _wrong("messages", "must be a list with at least one message")
        for number, message in enumerate(messages):
            _check_message(f"messages[{number}]", message)
    elif not request.get("prompt") or not isinstance(request["prompt"], str | list):
        raise _wrong("prompt", "must be a text that is not empty")


def _wrong(field: str, sentence: str) -> Refused:
    return Refused(400, f"{field} {sentence}.", field, "invalid_value")


def _check_field(field: str, value: Any) -> None:
    if field in _NUMBERS or field in _WHOLE:
        whole = field in _WHOLE
        low, high = _WHOLE[field] if whole else _NUMBERS[field]
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if number is None or (whole and not isinstance(number, int)) or not low <= number <= high:
            raise _wrong(field, f"must be a {'whole ' if whole else ''}number from {low} to {high}")
    elif field in _KINDS:
        kind, words = _KINDS[field]
        if not isinstance(value, kind):
            raise _wrong(field, f"must be {words}")
    elif field == "stop":
        stops = [value] if isinstance(value, str) else value
        if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
            raise _wrong(field, "must be a text or a list of texts")
    elif field == "chat_template_kwargs" and not (
        isinstance(value, dict)
        and value.keys() <= _TEMPLATE_SWITCHES
        and all(isinstance(switch, bool | str) for switch in value.values())
    ):
        raise _wrong(field, f"may hold only {', '.join(sorted(_TEMPLATE_SWITCHES))}")


def _check_message(where: str, message: Any) -> None:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _wrong(where, "must be an object with a role")
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise _wrong(f"{where}.content", "may hold only parts of type text")
    elif content is not None and not isinstance(content, str):
        raise _wrong(f"{where}.content", "must be a text")
    calls = message.get("tool_calls")
    if calls is None:
        message.pop("tool_calls", None)  # transformers iterates over it wherever the key stands
    elif not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        raise _wrong(f"{where}.tool_calls", "must be function calls with a name and arguments as a JSON text")


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return False
    try:
        return isinstance(json.loads(function["arguments"]), dict)
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address (a name other than localhost counts as one that others reach)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
