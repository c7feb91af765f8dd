"""Do the hubs answer, which one faster, and is this machine's clock right?  One HEAD request to each, no more."""

from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from appliance import settings
from appliance.locale import _

SECONDS = 3.0


@dataclass
class Answer:
    """What a hub said. `seconds` is None when it did not answer, `why` says why then.

    clock  how many seconds this machine's clock is ahead of the hub's; None when the hub does not tell
    """

    hub: str
    title: str
    endpoint: str
    seconds: float | None = None
    why: str = ""
    clock: float | None = None


def endpoints() -> list[Answer]:
    """Where the hubs are, as their own variables say it; nobody has been asked yet."""
    places = (
        ("modelscope", "ModelScope", settings.variable("MODELSCOPE_ENDPOINT") or "https://modelscope.cn"),
        ("huggingface", "Hugging Face", settings.variable("HF_ENDPOINT") or "https://huggingface.co"),
    )
    # Both clients take an endpoint without its scheme.
    return [Answer(hub, title, place if "://" in place else f"https://{place}") for hub, title, place in places]


def ask(timeout: float = SECONDS) -> list[Answer]:
    """Both hubs at once, in `timeout` seconds for everything (name resolution can't be given a limit of its own)."""
    answers = endpoints()
    # Daemons: one that hangs must not keep the command from ending.
    threads = [threading.Thread(target=_ask, args=(answer, timeout), daemon=True) for answer in answers]
    end = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    # A copy of each: a late thread may still write into its own.
    return [
        Answer(**vars(answer))
        if not thread.is_alive()
        else Answer(
            answer.hub, answer.title, answer.endpoint, why=_("no answer within {n:g} seconds").format(n=timeout)
        )
        for answer, thread in zip(answers, threads, strict=True)
    ]


def _ask(answer: Answer, timeout: float) -> None:
    if not answer.endpoint.lower().startswith(("http://", "https://")):
        answer.why = _("{endpoint} is not an address").format(endpoint=answer.endpoint)
        return
    began = time.monotonic()
    try:
        with _opener().open(_request(answer.endpoint), timeout=timeout) as response:
            answer.clock = _clock(response.headers)
    except urllib.error.HTTPError as error:
        answer.clock = _clock(error.headers)
        if error.code >= 500 or error.code == 407:
            answer.why = _("it says {code} {reason}").format(code=error.code, reason=error.reason)
            return
    except (OSError, ValueError) as error:  # URLError is an OSError; a hostile endpoint gives ValueError
        reason = getattr(error, "reason", error)
        answer.why = _why(reason)
        if isinstance(reason, ssl.SSLCertVerificationError):
            # A clock that is far off makes every certificate invalid; then plain HTTP can still tell the time.
            answer.clock = _clock_without_tls(answer.endpoint, timeout)
        return
    except Exception as error:  # http.client raises its own kinds for answers that are no HTTP
        answer.why = f"{type(error).__name__}: {error}"
        return
    answer.seconds = time.monotonic() - began


def _why(reason: Any) -> str:
    """What the system says in English, in the person's language where it is one of the usual things."""
    if isinstance(reason, socket.gaierror):
        return _("its name can't be looked up")
    if isinstance(reason, TimeoutError):
        return _("no answer in time")
    if isinstance(reason, ConnectionRefusedError):
        return _("the connection was refused")
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _clock_without_tls(endpoint: str, timeout: float) -> float | None:
    try:
        address = f"http://{urlsplit(endpoint).hostname}/"
        with _opener(_NoRedirect()).open(_request(address), timeout=timeout) as response:
            return _clock(response.headers)
    except urllib.error.HTTPError as error:  # the redirect to HTTPS, most of all
        return _clock(error.headers)
    except Exception:
        return None


def _request(address: str) -> urllib.request.Request:
    return urllib.request.Request(address, method="HEAD", headers={"Cache-Control": "no-cache"})  # noqa: S310


def _opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    proxies = urllib.request.getproxies()
    # The hubs' clients honour ALL_PROXY, urllib does not.
    everything = proxies.get("all", "")
    if everything.startswith("http"):
        proxies = {"http": everything, "https": everything, **proxies}
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), *handlers)


def _clock(headers: Message) -> float | None:
    """Seconds that this clock is ahead, from the answer's Date and, where a cache kept it, its Age."""
    try:
        sent = email.utils.parsedate_to_datetime(headers.get("Date") or "")
        age = headers.get("Age") or "0"
        return time.time() - sent.replace(tzinfo=sent.tzinfo or UTC).timestamp() - (int(age) if age.isdigit() else 0)
    except (ValueError, TypeError, OverflowError):
        return None
