"""The engine's answer on its way out, and every error in OpenAI's form. Standard library only: the guard runs this."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from appliance.engines.protocol import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# Of an error within a stream: an engine writes an exception's own words. Inside a JSON string a quote is escaped, so
# this can only match an event, never what a model wrote.
_STREAM_ERROR = re.compile(rb'data: \{"error":[^\n]*')

# How vLLM calls a message's thoughts; our other engines, and the clients that know of them, say reasoning_content. As
# above, this can only be a field's name.
_THOUGHTS, _THOUGHTS_NAME = b'"reasoning":', b'"reasoning_content":'


class Reply:
    """Streams pass event by event; the rest is sent when whole.

    Errors get OpenAI's form, and nothing of the inside (a traceback, a path) is told. With `keep` the answer's bytes
    stay in `kept`, for the request log.
    """

    def __init__(self, send: Send, keep: bool = False):
        self.send = send
        self.started = self.finished = self.streams = False
        self.ended = b""
        self.held = bytearray()
        self.kept: list[bytes] | None = [] if keep else None
        self.status = 0
        self.headers: Headers = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # CORS is off whatever the engine's default: no page of another site may read an answer.
            self.headers = [pair for pair in message.get("headers", []) if not pair[0].startswith(b"access-control-")]
            kind = header(self.headers, b"content-type")
            self.streams = self.status < 400 and kind.startswith(b"text/event-stream")
            if self.streams:
                self.started = True
                await self.send({**message, "headers": self.headers})
        elif message["type"] == "http.response.body":
            last = not message.get("more_body", False)
            if self.streams:
                body = self._events(message.get("body", b""), last)
                if self.kept is not None:
                    self.kept.append(body)
                await self.send({**message, "body": body})
            else:
                self.held += message.get("body", b"")
                if last:
                    await self._whole()
            self.finished = last

    def _events(self, body: bytes, last: bool) -> bytes:
        if b'data: {"error":' in body:
            broken = b"data: " + json.dumps(engine_failed(500).as_dict()).encode()
            body = _STREAM_ERROR.sub(lambda _match: broken, body)
        body = body.replace(_THOUGHTS, _THOUGHTS_NAME)
        self.ended = (self.ended + body)[-16:]
        if last and not self.ended.rstrip().endswith(b"[DONE]"):
            body += b"data: [DONE]\n\n"  # clients wait for it
        return body

    async def _whole(self) -> None:
        self.started = True
        if self.status >= 400:
            self.status, value = openai_error(self.status, bytes(self.held))
            await answer(self.send, self.status, value)
            return
        body = bytes(self.held).replace(_THOUGHTS, _THOUGHTS_NAME)
        if self.kept is not None:
            self.kept.append(body)
        kept = [pair for pair in self.headers if pair[0] != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": self.status, "headers": [*kept, length]})
        await self.send({"type": "http.response.body", "body": body})


def openai_error(status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    """Any engine's error in OpenAI's form; nothing of it but the status when the engine itself has failed."""
    if status >= 500:
        return status, engine_failed(status).as_dict()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    told = value if isinstance(value, dict) else {}
    error = told.get("error") or told.get("detail") or told.get("message")
    param = code = None
    if isinstance(error, dict):
        param, code, error = error.get("param"), error.get("code"), error.get("message")
    if isinstance(error, list):  # FastAPI: one entry for each field
        error = "; ".join(
            f"{'.'.join(str(part) for part in entry.get('loc', ()))}: {entry.get('msg', '')}"
            for entry in error
            if isinstance(entry, dict)
        )
    message = error if isinstance(error, str) and error else "The request was refused."
    status = 400 if status == 422 else status
    # vLLM says it in words only.
    if status == 400 and not isinstance(code, str) and "maximum context length" in message:
        code = "context_length_exceeded"
    refused = Refused(status, message, param if isinstance(param, str) else None, code if isinstance(code, str) else "")
    return status, refused.as_dict()


def engine_failed(status: int) -> Refused:
    """What is told of an engine's own failure."""
    return Refused(status, "The model server failed on this request. Its log says why.", code="server_error")


async def answer(send: Send, status: int, value: dict[str, Any], headers: Headers | tuple[()] = ()) -> None:
    """One JSON answer."""
    body = json.dumps(value).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


def header(headers: Headers, name: bytes) -> bytes:
    """The first value of a header; empty when it isn't there."""
    return next((value for key, value in headers if key == name), b"")
