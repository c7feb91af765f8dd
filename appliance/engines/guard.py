"""The door: a pure ASGI middleware inside the engine's own process. Standard library only.

vLLM loads it with `--middleware appliance.engines.guard.Guard`; for transformers our launcher puts it around the app.
It keeps a list of four routes and refuses all else, checks the key, limits what comes in, and gives every error
OpenAI's form. Its settings are a JSON file named by APPLIANCE_GUARD:

    key_file       file with the keys, a line each: `name:key` or `key`; null: loopback without a key
    names          {served name: the engine's own id of that model}
    body_limit     bytes of a request's body            (default 8 MiB)
    header_limit   bytes of all headers together        (default 16 KiB)
    instance       what /health names this server by, so that its supervisor knows it from another on the same port
    body_seconds   seconds in which a body must arrive  (default 60)

Keys are never in argv, the environment or a log; only their sha256 stays in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from appliance.engines.protocol import Refused, check, is_loopback, parse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HEALTH = ("GET", "/health")
MODELS = ("GET", "/v1/models")
ROUTES = {HEALTH, MODELS, ("POST", "/v1/chat/completions"), ("POST", "/v1/completions")}

# Inside a JSON string a quote is escaped, so these can only match a real field, never what a model wrote.
_MODEL_FIELD = re.compile(rb'"model":\s*"(?:[^"\\]|\\.)*"')
_BARE_STREAM_ERROR = re.compile(rb'data: \{"error": "[^\n]*')

_log = logging.getLogger("appliance.guard")


class Guard:
    """ASGI app around an engine's ASGI app. Raises at once, so that the engine doesn't start, on wrong settings."""

    def __init__(self, app: App):
        settings = json.loads(Path(os.environ["APPLIANCE_GUARD"]).read_text(encoding="utf-8"))
        self.app = app
        self.names: dict[str, str] = settings["names"]
        self.body_limit = int(settings.get("body_limit", 8 << 20))
        self.header_limit = int(settings.get("header_limit", 16 << 10))
        self.body_seconds = float(settings.get("body_seconds", 60))
        self.instance = str(settings.get("instance", ""))
        self.keys = _read_keys(settings["key_file"])
        self.started = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            try:
                await self._http(scope, receive, send)
            except Refused as refused:
                await _answer(send, refused.status, refused.as_dict(), refused.headers)
            except _Gone:
                pass

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > self.header_limit:
            raise Refused(431, "The headers of this request are too large.", code="headers_too_large")
        route = (scope["method"], scope["path"])
        if route not in ROUTES:
            raise Refused(404, "There is nothing at this address.", code="unknown_url")
        if route == HEALTH:
            await self._health(scope, receive, send)
            return
        self._check_key(scope, headers)
        if route == MODELS:
            await _answer(send, 200, self._models())
            return
        if b"json" not in _header(headers, b"content-type").lower():
            # A page in a browser may send a form or plain text anywhere without asking; JSON it may not.
            raise Refused(415, "Send the request as Content-Type: application/json.", code="unsupported_media_type")
        request = parse(await self._body(headers, receive))
        check(scope["path"], request)
        served = request["model"]
        if served not in self.names:
            raise Refused(404, f"The model {served!r} is not served here.", "model", "model_not_found")
        request["model"] = self.names[served]
        await self._forward(scope, headers, request, receive, _Reply(send, served, self.names[served]))

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asks the engine, because only it knows whether its workers live, and tells no more than yes or no."""
        status = 503

        async def capture(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        try:
            await self.app(scope, receive, capture)
        except Exception:
            _log.exception("the engine's health check failed")
            status = 503
        well = status == 200
        headers = [(b"x-appliance-instance", self.instance.encode())] if self.instance else []
        await _answer(send, 200 if well else 503, {"status": "ok" if well else "unhealthy"}, headers)

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        if not self.keys:
            # Without a key only this machine may ask, and only by a loopback name: a page in a browser here that
            # makes its own name point to 127.0.0.1 still sends that name.
            server = scope.get("server") or ("", 0)
            host = _header(headers, b"host").decode("latin-1")
            if is_loopback(str(server[0])) and is_loopback(re.sub(r":\d+$", "", host).strip("[]")):
                return
            raise Refused(403, "Without a key this server answers only on localhost.", code="local_only")
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        digest = hashlib.sha256(token.strip()).digest()
        right = False
        for known in self.keys.values():  # all of them, so that the time doesn't tell which
            right |= hmac.compare_digest(known, digest)
        if not right or scheme.lower() != b"bearer":
            raise Refused(
                401,
                "The key is missing or wrong. Send it as Authorization: Bearer KEY.",
                code="invalid_api_key",
                headers=[(b"www-authenticate", b"Bearer")],
            )

    def _models(self) -> dict[str, Any]:
        entries = [
            {"id": name, "object": "model", "created": self.started, "owned_by": "appliance"} for name in self.names
        ]
        return {"object": "list", "data": entries}

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        too_large = Refused(413, f"The request is larger than {self.body_limit} bytes.", code="request_too_large")
        declared = _header(headers, b"content-length")
        if declared.isdigit() and int(declared[:20]) > self.body_limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _Gone
                    body += message.get("body", b"")
                    if len(body) > self.body_limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Refused(
                408, "The request did not arrive in time.", code="timeout", headers=[(b"connection", b"close")]
            ) from None

    async def _forward(
        self, scope: Scope, headers: Headers, request: dict[str, Any], receive: Receive, reply: _Reply
    ) -> None:
        # Written anew, so that the engine reads exactly what was checked (a name given twice, for example).
        body = json.dumps(request, separators=(",", ":")).encode()
        replaced = (b"content-length", b"transfer-encoding", b"authorization")
        kept = [(name, value) for name, value in headers if name not in replaced]
        inner = {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}
        handed_over = False

        async def receive_checked() -> Message:
            nonlocal handed_over
            if handed_over:
                return await receive()  # from here on only the news that the client has gone
            handed_over = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self.app(inner, receive_checked, reply)
        except Exception:
            _log.exception("the engine failed on a request")
            if not reply.started:
                await _answer(reply.send, 500, _engine_failed(500).as_dict())
            elif not reply.finished:
                raise  # half an answer is out: the server must cut the connection, or it would look whole


class _Gone(Exception):
    """The client left before its request was complete."""


class _Reply:
    """The engine's answer on its way out: streams pass event by event; the rest is sent when whole.

    The engine's own name for the model becomes the served one, errors get OpenAI's form, and nothing of the inside
    (a traceback, a path) is told.
    """

    def __init__(self, send: Send, served: str, own: str):
        self.send = send
        self.field = b'"model":' + json.dumps(served).encode() if served != own else None
        self.started = self.finished = self.streams = False
        self.ended = b""
        self.held = bytearray()
        self.status = 0
        self.headers: Headers = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # CORS is off whatever the engine's default: no page of another site may read an answer.
            self.headers = [pair for pair in message.get("headers", []) if not pair[0].startswith(b"access-control-")]
            kind = _header(self.headers, b"content-type")
            self.streams = self.status < 400 and kind.startswith(b"text/event-stream")
            if self.streams:
                self.started = True
                await self.send({**message, "headers": self.headers})
        elif message["type"] == "http.response.body":
            last = not message.get("more_body", False)
            if self.streams:
                await self.send({**message, "body": self._events(message.get("body", b""), last)})
            else:
                self.held += message.get("body", b"")
                if last:
                    await self._whole()
            self.finished = last

    def _renamed(self, body: bytes) -> bytes:
        field = self.field
        return body if field is None else _MODEL_FIELD.sub(lambda _match: field, body)

    def _events(self, body: bytes, last: bool) -> bytes:
        if b'"error": "' in body:  # transformers puts an exception's bare text here
            broken = b"data: " + json.dumps(_engine_failed(500).as_dict()).encode()
            body = _BARE_STREAM_ERROR.sub(lambda _match: broken, body)
        self.ended = (self.ended + body)[-16:]
        if last and not self.ended.rstrip().endswith(b"[DONE]"):
            body += b"data: [DONE]\n\n"  # transformers leaves it out, and clients wait for it
        return self._renamed(body)

    async def _whole(self) -> None:
        self.started = True
        if self.status >= 400:
            await _answer(self.send, *_openai_error(self.status, bytes(self.held)))
            return
        body = self._renamed(bytes(self.held))
        kept = [pair for pair in self.headers if pair[0] != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": self.status, "headers": [*kept, length]})
        await self.send({"type": "http.response.body", "body": body})


def _openai_error(status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    """Any engine's error in OpenAI's form; nothing of it but the status when the engine itself has failed."""
    if status >= 500:
        return status, _engine_failed(status).as_dict()
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
    refused = Refused(status, message, param if isinstance(param, str) else None, code if isinstance(code, str) else "")
    return status, refused.as_dict()


def _engine_failed(status: int) -> Refused:
    return Refused(status, "The model server failed on this request. Its log says why.", code="server_error")


async def _answer(send: Send, status: int, value: dict[str, Any], headers: Headers | tuple[()] = ()) -> None:
    body = json.dumps(value).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


def _read_keys(path: str | None) -> dict[str, bytes]:
    """{name: sha256 of the key}; a line without a name is called by its number."""
    if path is None:
        return {}
    keys = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        name, colon, key = (part.strip() for part in line.rpartition(b":"))
        if key:
            called = name.decode(errors="replace") if colon else str(number)
            keys[called if called not in keys else f"{called} ({number})"] = hashlib.sha256(key).digest()
    if not keys:  # never open the door because a file is empty
        raise ValueError("the key file holds no key")
    return keys


def _header(headers: Headers, name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")
