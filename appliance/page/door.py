"""The chat page's door: a pure ASGI app around gradio's. Standard library only.

Nothing but the sign-in is seen without a key of the server. The key is typed once; what the browser keeps is a random
session in a cookie that no script can read and no other site can send. The key itself stays in this process's memory,
to ask the server in the name of whom it belongs to, so a key that is revoked ends its sessions here too.

Behind the sign-in stands a list of the routes that the page needs. gradio has many more: uploads, files by path, a
proxy, an API, a terminal for an assistant that writes code.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from appliance.engines.keyring import Keyring
from appliance.engines.protocol import is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 1000
_BODY_LIMIT = 4 << 20  # gradio sends the whole conversation with each question
_SIGN_IN_LIMIT = 4 << 10
_HEADER_LIMIT = 16 << 10
_BODY_SECONDS = 30.0

_ROUTES = {
    ("GET", "/"), ("GET", "/config"), ("GET", "/theme.css"), ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/startup-events"), ("GET", "/gradio_api/queue/data"), ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/run/predict"), ("POST", "/gradio_api/cancel"), ("POST", "/gradio_api/reset"),
}  # fmt: skip
_FILES = re.compile(r"/(?:assets|static|svelte)/[\w./@-]+|/gradio_api/heartbeat/\w+", re.ASCII)

# gradio writes its settings and styles into the page; nothing may come from, or go to, anywhere else: neither its own
# CDNs and fonts nor a picture that a model writes into an answer to carry it away.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_SIGN_IN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass
class _Visit:
    """A person who showed a key. until: by time.monotonic()."""

    key: bytes = field(repr=False)
    until: float


class Door:
    """`keys`: as the guard's, None: loopback without a key. `words`: {language: {sentence: its text}}."""

    def __init__(self, app: App, keys: str | None, port: int, instance: str, words: dict[str, dict[str, str]]):
        self.app, self.instance, self.words = app, instance, words
        self.keyring = Keyring(keys)
        # A cookie is sent to every port of a host: two pages side by side must not take each other's.
        self.cookie = f"appliance-page-{port}"
        self._visits: dict[bytes, _Visit] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        method, path = scope["method"], scope["path"]
        if sum(len(name) + len(value) for name, value in headers) > _HEADER_LIMIT:
            await _say(send, 431, "The headers of this request are too large.")
        elif (method, path) == ("GET", "/health"):
            await _answer(send, 200, b'{"status": "ok"}', "application/json", [("x-appliance-instance", self.instance)])
        elif not self.keyring.wanted and not _local(scope):
            await _say(send, 403, "Without a key this page answers only on localhost.")
        elif method == "POST" and not _same_origin(scope):
            await _say(send, 403, "This request comes from another site.")
        elif self.keyring.wanted and (method, path) == ("POST", "/sign-in"):
            await self._sign_in(scope, receive, send)
        elif self.keyring.wanted and self.key(_header(headers, b"cookie")) is None:
            if method == "GET" and path == "/":
                await self._form(scope, send, 200)
            else:
                await _say(send, 401, "Sign in first.")
        elif self.keyring.wanted and (method, path) == ("GET", "/sign-out"):
            self._visits.pop(self._session(_header(headers, b"cookie")), None)
            await _answer(send, 303, b"", "text/plain", [("location", "/")])
        elif (method, path) not in _ROUTES and not (method == "GET" and _FILES.fullmatch(path) and ".." not in path):
            await _say(send, 404, "There is nothing at this address.")
        else:
            await self._pass(scope, receive, send)

    # --- who it is ---------------------------------------------------------------------------------------------------

    def key(self, cookie: str) -> str | None:
        """The key of the person whose browser sent this Cookie header; None: nobody, or one whose key was revoked."""
        session = self._session(cookie)
        found = None
        for known in list(self._visits):  # all of them, so that the time doesn't tell which
            if hmac.compare_digest(known, session):
                found = known
        visit = self._visits.get(found) if found is not None else None
        if found is None or visit is None:
            return None
        if visit.until < time.monotonic() or self.keyring.name_of(visit.key) is None:
            del self._visits[found]
            return None
        return visit.key.decode()

    def _session(self, cookie: str) -> bytes:
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(cookie)
        except CookieError:
            return b""
        return hashlib.sha256(jar[self.cookie].value.encode()).digest() if self.cookie in jar else b""

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive, _SIGN_IN_LIMIT)
        if body is None:
            await _say(send, 413, "This request is too large, or did not arrive in time.")
            return
        key = parse_qs(body.decode("latin-1"), max_num_fields=4, encoding="utf-8").get("key", [""])[0].strip().encode()
        if not key or self.keyring.name_of(key) is None:
            await self._form(scope, send, 401)
            return
        now = time.monotonic()
        self._visits = {name: visit for name, visit in self._visits.items() if visit.until > now}
        while len(self._visits) >= _MOST_SESSIONS:
            del self._visits[next(iter(self._visits))]
        token = secrets.token_urlsafe(32)
        self._visits[hashlib.sha256(token.encode()).digest()] = _Visit(key, now + SESSION_SECONDS)
        cookie = f"{self.cookie}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={int(SESSION_SECONDS)}"
        await _answer(send, 303, b"", "text/plain", [("location", "/"), ("set-cookie", cookie)])

    async def _form(self, scope: Scope, send: Send, status: int) -> None:
        """The sign-in; 401: after a wrong key."""
        chosen = language(_header(scope["headers"], b"accept-language"))
        words = {name: html.escape(text) for name, text in self.words[chosen].items()}
        wrong = f'<p role="alert">{words["wrong"]}</p>' if status == 401 else ""
        page = _FORM.format(lang={"zh": "zh-CN"}.get(chosen, chosen), told=wrong, **words)
        policy = [("content-security-policy", _SIGN_IN_POLICY)]
        await _answer(send, status, page.encode(), "text/html; charset=utf-8", policy)

    # --- what lies behind --------------------------------------------------------------------------------------------

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = None
        if scope["method"] == "POST":
            body = await _body(receive, _BODY_LIMIT)
            if body is None:
                await _say(send, 413, "This request is too large, or did not arrive in time.")
                return

        async def receive_checked() -> Message:
            nonlocal body
            if body is None:
                return await receive()  # from here on only the news that the browser has gone
            whole, body = body, None
            return {"type": "http.request", "body": whole, "more_body": False}

        async def send_closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(b"access-control-")]
                own = [("content-security-policy", _PAGE_POLICY), *_ALWAYS]
                message = {**message, "headers": [*kept, *((n.encode(), v.encode()) for n, v in own)]}
            await send(message)

        await self.app(scope, receive_checked, send_closed)


# Not no-referrer: with it a browser names no origin for our own form either, and _same_origin refuses that.
_ALWAYS = [("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin"), ("x-frame-options", "DENY")]


def language(accepted: str) -> str:
    """`zh` or `en`: the first of the two that a browser's Accept-Language names."""
    wanted = re.search(r"(?i)(?:^|,)\s*(zh|en)\b", accepted)
    return wanted[1].lower() if wanted else "en"


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def _local(scope: Scope) -> bool:
    """By loopback, and by its name: a page elsewhere whose name points to 127.0.0.1 still sends that name."""
    server = scope.get("server") or ("", 0)
    host = re.sub(r":\d+$", "", _header(scope["headers"], b"host")).strip("[]")
    return is_loopback(str(server[0])) and is_loopback(host)


def _same_origin(scope: Scope) -> bool:
    origin = _header(scope["headers"], b"origin")
    return not origin or urlsplit(origin).netloc.lower() == _header(scope["headers"], b"host").lower()


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The request's body; None when it is too large, too slow or cut off."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > limit:
                    return None
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return None


async def _say(send: Send, status: int, sentence: str) -> None:
    await _answer(send, status, json.dumps({"error": sentence}).encode(), "application/json", [])


async def _answer(send: Send, status: int, body: bytes, kind: str, more: list[tuple[str, str]]) -> None:
    own = [("content-type", kind), ("content-length", str(len(body))), ("cache-control", "no-store"), *_ALWAYS, *more]
    headers = [(name.encode(), value.encode()) for name, value in own]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_FORM = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.6 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 1rem; }}
form {{ width: min(26rem, 100%); }}
h1 {{ font-size: 1.4rem; }}
input, button {{ font: inherit; box-sizing: border-box; width: 100%; padding: .6rem .8rem; margin-top: .6rem;
  border: 1px solid #8888; border-radius: .5rem; }}
button {{ background: #0f766e; color: #fff; border: 0; cursor: pointer; }}
p {{ opacity: .8; font-size: .9rem; }}
[role=alert] {{ color: #dc2626; opacity: 1; }}
</style>
</head>
<body>
<form method="post" action="/sign-in">
<h1>{title}</h1>
<label for="key">{key}</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
{told}
<button>{enter}</button>
<p>{where}</p>
</form>
</body>
</html>
"""
