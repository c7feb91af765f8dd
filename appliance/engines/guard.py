"""The door: a pure ASGI middleware inside the engine's own process. Standard library only.

vLLM loads it with `--middleware appliance.engines.guard.Guard`; for transformers our launcher puts it around the app.
It keeps a list of four routes and refuses all else, checks the key, lets known fields through (protocol.py), limits
what comes in, and gives every error OpenAI's form. Its settings are a JSON file named by APPLIANCE_GUARD:

    keys           a folder with one file a key, or a file with a key a line (keyring.py); null: loopback without a key
    names          the served names: the model's and its adapters'
    log            where requests and answers are written (request_log.py); null: nowhere
    body_limit     bytes of a request's body            (default 8 MiB)
    header_limit   bytes of all headers together        (default 16 KiB)
    instance       what /health names this server by, so that its supervisor knows it from another on the same port
    body_seconds   seconds in which a body must arrive  (default 60)
    unlogged       a secret: requests with it in x-appliance-unlogged are the supervisor's own, and not logged

Keys are never in argv, the environment or a log; only their sha256 stays in memory.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

from appliance.engines.keyring import Keyring
from appliance.engines.protocol import CHAT, COMPLETIONS, Refused, check, is_loopback, parse
from appliance.engines.replies import App, Headers, Message, Receive, Reply, Scope, Send, answer, engine_failed, header
from appliance.engines.request_log import RequestLog

HEALTH = ("GET", "/health")
MODELS = ("GET", "/v1/models")
ROUTES = {HEALTH, MODELS, ("POST", CHAT), ("POST", COMPLETIONS)}

_log = logging.getLogger("appliance.guard")


class Guard:
    """ASGI app around an engine's ASGI app. Raises at once, so that the engine doesn't start, on wrong settings."""

    def __init__(self, app: App):
        settings = json.loads(Path(os.environ["APPLIANCE_GUARD"]).read_text(encoding="utf-8"))
        self.app = app
        self.names: list[str] = settings["names"]
        self.body_limit = int(settings.get("body_limit", 8 << 20))
        self.header_limit = int(settings.get("header_limit", 16 << 10))
        self.body_seconds = float(settings.get("body_seconds", 60))
        self.instance = str(settings.get("instance", ""))
        self.unlogged = str(settings.get("unlogged", "")).encode()
        self.keys = Keyring(settings["keys"])
        self.log = RequestLog(Path(settings["log"])) if settings.get("log") else None
        self.started = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            if self.log is not None:
                self.log.close()
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            try:
                await self._http(scope, receive, send)
            except Refused as refused:
                await answer(send, refused.status, refused.as_dict(), refused.headers)
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
        key = self._check_key(scope, headers)
        if route == MODELS:
            await answer(send, 200, self._models())
            return
        if header(headers, b"content-type").lower().partition(b";")[0].strip() != b"application/json":
            # A page in a browser may send a form or plain text anywhere without asking; JSON it may not.
            raise Refused(415, "Send the request as Content-Type: application/json.", code="unsupported_media_type")
        request = parse(await self._body(headers, receive))
        check(scope["path"], request)
        served = request["model"]
        if served not in self.names:
            raise Refused(404, f"The model {served!r} is not served here.", "model", "model_not_found")
        own = bool(self.unlogged) and hmac.compare_digest(header(headers, b"x-appliance-unlogged"), self.unlogged)
        reply = Reply(send, keep=self.log is not None and not own)
        began = time.monotonic()
        try:
            await self._forward(scope, headers, request, receive, reply)
        finally:
            if self.log is not None and reply.kept is not None:
                seconds = round(time.monotonic() - began, 3)
                facts = {"key": key, "model": served, "status": reply.status or None, "seconds": seconds}
                self.log.add(facts, request, reply.kept, reply.streams)

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
        await answer(send, 200 if well else 503, {"status": "ok" if well else "unhealthy"}, headers)

    def _check_key(self, scope: Scope, headers: Headers) -> str | None:
        """The name of the key; None where none is wanted."""
        if not self.keys.wanted:
            # Without a key only this machine may ask, and only by a loopback name: a page in a browser here that
            # makes its own name point to 127.0.0.1 still sends that name.
            server = scope.get("server") or ("", 0)
            host = header(headers, b"host").decode("latin-1")
            if is_loopback(str(server[0])) and is_loopback(re.sub(r":\d+$", "", host).strip("[]")):
                return None
            raise Refused(403, "Without a key this server answers only on localhost.", code="local_only")
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        name = self.keys.name_of(token.strip())
        if name is None or scheme.lower() != b"bearer":
            raise Refused(
                401,
                "The key is missing or wrong. Send it as Authorization: Bearer KEY.",
                code="invalid_api_key",
                headers=[(b"www-authenticate", b"Bearer")],
            )
        return name

    def _models(self) -> dict[str, Any]:
        entries = [
            {"id": name, "object": "model", "created": self.started, "owned_by": "appliance"} for name in self.names
        ]
        return {"object": "list", "data": entries}

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        too_large = Refused(413, f"The request is larger than {self.body_limit} bytes.", code="request_too_large")
        declared = header(headers, b"content-length")
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
        self, scope: Scope, headers: Headers, request: dict[str, Any], receive: Receive, reply: Reply
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
                await answer(reply.send, 500, engine_failed(500).as_dict())
            elif not reply.finished:
                raise  # half an answer is out: the server must cut the connection, or it would look whole


class _Gone(Exception):
    """The client left before its request was complete."""
