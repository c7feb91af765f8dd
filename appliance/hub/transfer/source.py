"""One hub as a place that bytes come from: addresses, redirects, tokens, proxies, and answers that can't be trusted."""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.util import make_headers

from appliance import settings
from appliance.errors import ApplianceError
from appliance.hub import hubs
from appliance.hub.transfer.limits import Limits
from appliance.locale import _

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 6
_MOST_REFUSALS = 4  # addresses in a row that the hub made and nobody serves
_SMALL_BODY = 65536
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Busy(Exception):
    """The server has no time now (429, 5xx). `wait`: seconds that it asks for, None where it says nothing."""

    def __init__(self, text: str, wait: float | None):
        super().__init__(text)
        self.wait = wait


class Expired(Exception):
    """A redirect's address is no longer good: the hub has to be asked again."""


class Wrong(Exception):
    """An answer that does not fit the question (another size, another range, an encoded body)."""


class Changed(Exception):
    """The object is another one than before."""


class Answer:
    """One open response. `ranged`: it is the range that was asked for; otherwise it is the whole file from byte 0."""

    def __init__(self, response: urllib3.BaseHTTPResponse, ranged: bool, origin: str, etag: str):
        self._response = response
        self.ranged, self.origin, self.etag = ranged, origin, etag

    def read(self, most: int) -> bytes:
        """What has come, at most `most` bytes; waits for the first one. b"" at the end."""
        return self._response.read1(most, decode_content=False) or b""

    def interrupt(self) -> None:
        """From another thread: make a waiting `read` return."""
        try:
            self._response.shutdown()
        except (OSError, ValueError, RuntimeError):  # it has just ended by itself
            pass

    def end(self, complete: bool) -> None:
        """Give the connection back when the body was read to its end, close it otherwise."""
        if complete and not self._response.read1(1, decode_content=False):
            self._response.release_conn()
        else:
            self._response.close()


class Source:
    """One listing's files. Threads may call `open` at once."""

    def __init__(self, found: hubs.Listing, limits: Limits):
        self.found = found
        self._limits = limits
        self._address = hubs.addresses(found)
        self._home = origin_of(hubs.endpoint(found.hub))
        self._secrets = hubs.secrets(found.hub)
        self._resolved: dict[str, tuple[str, int]] = {}  # name to its final address and which one that is
        self._asked = 0
        self._refused: dict[str, set[int]] = {}
        self._managers: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def knows(self, name: str) -> bool:
        """Whether a file's final address is known: before that, one request at a time is enough."""
        return name in self._resolved

    def open(self, file: hubs.HubFile, start: int, end: int, validator: tuple[str, str] | None) -> Answer:
        """Ask for bytes start..end of a file. Raises Busy, Expired, Wrong, HubFailure; urllib3's HTTPError."""
        known = self._resolved.get(file.name)
        if known:
            url, number = known
        else:
            with self._lock:
                self._asked += 1
                url, number = self._address(file.name), self._asked
        response = None
        try:
            response, final = self._follow(url, start, end, validator)
            answer = self._judge(response, final, number, file, start, end)
        except BaseException:
            if response is not None:
                response.close()
            with self._lock:  # also a machine that does not answer: the hub may name another one
                if self._resolved.get(file.name) == known:
                    self._resolved.pop(file.name, None)
            raise
        self._resolved[file.name] = (final, number)
        return answer

    def proved(self, name: str) -> None:
        """Bytes came from the address in use."""
        self._refused.pop(name, None)

    def close(self) -> None:
        """Close the idle connections."""
        for manager in self._managers.values():
            manager.clear()

    def _follow(
        self, url: str, start: int, end: int, validator: tuple[str, str] | None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        # By hand: a token must not be carried to another origin, and only http and https lead to a hub's bytes.
        for _hop in range(_MOST_REDIRECTS):
            origin = origin_of(url)
            headers = {
                "Range": f"bytes={start}-{end - 1}",
                "Accept-Encoding": "identity",
                "User-Agent": "appliance",
                **(self._secrets if origin == self._home else {}),
            }
            if validator and validator[0] == origin:
                headers["If-Range"] = validator[1]
            response = self._manager(url).request(
                "GET", url, headers=headers, redirect=False, retries=False, preload_content=False, decode_content=False
            )
            if response.status not in _REDIRECTS:
                return response, url
            location = response.headers.get("Location", "")
            if _length(response) in range(_SMALL_BODY):
                response.drain_conn()
            else:
                response.close()
            url = self._next(url, location)
        raise hubs.HubFailure(
            _("{hub} sends from address to address without end.").format(hub=self._name),
            "",
            _("Try again later or take the other hub (--source)."),
        )

    def _next(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        parts = urlsplit(target)
        downgrade = urlsplit(url).scheme == "https" and parts.scheme == "http"
        if parts.scheme not in ("http", "https") or not parts.hostname or downgrade:
            raise hubs.HubFailure(
                _("{hub} sends to an address that is refused.").format(hub=self._name),
                hubs.scrub(target[:200]),
                _("Only https is followed (and http where the hub itself is http). Take the other hub (--source)."),
            )
        return urlunsplit(parts._replace(fragment=""))

    def _judge(
        self,
        response: urllib3.BaseHTTPResponse,
        url: str,
        number: int,
        file: hubs.HubFile,
        start: int,
        end: int,
    ) -> Answer:
        origin, status = origin_of(url), response.status
        text = f"HTTP {status} {origin}"
        if status in (408, 425, 429) or status >= 500:
            raise Busy(text, _retry_after(response))
        if status == 416:
            raise Wrong(_("{file} is shorter there than listed.").format(file=file.name))
        if status not in (200, 206):
            raise self._refusal(status, origin, file.name, number)
        etag = response.headers.get("ETag", "")
        etag = "" if etag.startswith("W/") else etag
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise Wrong(_("{file} came encoded ({encoding}).").format(file=file.name, encoding=encoding[:40]))
        length = _length(response)
        if status == 206:
            told = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if not told or int(told[1]) != start or int(told[2]) >= end or (length or end - start) > end - start:
                raise Wrong(_("{file}: another part came than was asked for.").format(file=file.name))
            size = None if told[3] == "*" else int(told[3])
        else:
            size = length
        if size is not None and size != file.size:
            told_size = _("{file} has {size} bytes there and {listed} in the listing.")
            raise Wrong(told_size.format(file=file.name, size=size, listed=file.size))
        return Answer(response, status == 206, origin, etag)

    def _refusal(self, status: int, origin: str, name: str, number: int) -> Exception:
        """A signed address runs out; that the hub's new ones are refused as well is another matter."""
        text = f"HTTP {status} {origin}"
        if origin != self._home:
            with self._lock:
                refused = self._refused.setdefault(name, set())
                refused.add(number)
                if len(refused) < _MOST_REFUSALS:
                    return Expired(text)
        return hubs.refused(self.found.hub, self.found.reference, status, text)

    @property
    def _name(self) -> str:
        return hubs.NAMES[self.found.hub]

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy, secure = proxy_for(url), url.startswith("https:")
        with self._lock:
            if (proxy, secure) not in self._managers:
                self._managers[proxy, secure] = _make_manager(proxy, secure, self._limits)
            return self._managers[proxy, secure]


def origin_of(url: str) -> str:
    """scheme://host:port, with the port written out."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        port = 0
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}:{port}"


def proxy_for(url: str) -> str:
    """The proxy that the environment names for an address, or ""."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _make_manager(proxy: str, secure: bool, limits: Limits) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "maxsize": limits.most,
        "timeout": urllib3.Timeout(connect=limits.connect, read=limits.stall),
    }
    if secure or proxy.startswith("https:"):  # reading the lists of authorities takes a moment
        options["ssl_context"] = _tls()
    if not proxy:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise ApplianceError(
            _("The proxy {proxy} is of a kind that is not supported.").format(proxy=hubs.scrub(proxy)),
            "",
            _("Set HTTPS_PROXY to an address that begins with http:// or https://."),
        )
    if parts.username:
        headers = make_headers(proxy_basic_auth=unquote(f"{parts.username}:{parts.password or ''}"))
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    return urllib3.ProxyManager(proxy, **options)


def _tls() -> ssl.SSLContext:
    """Verified against what the machine trusts, what its owner named, and Mozilla's list."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        place = settings.variable(name)
        if place and os.path.exists(place):
            context.load_verify_locations(**{"capath" if os.path.isdir(place) else "cafile": place})
    return context


def _length(response: urllib3.BaseHTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _retry_after(response: urllib3.BaseHTTPResponse, now: Callable[[], float] = time.time) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text), 10**6))
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except (ValueError, TypeError):
        return None
