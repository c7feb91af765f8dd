"""Hubs that answer, are slow, refuse or tell another time: servers on this machine's own loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from appliance.hardware import doctor, network

Start = Callable[..., str]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def hub() -> Iterator[Start]:
    """hub(status, ahead=seconds, age=…, until=event, seen=list) starts one and gives its address."""
    servers = []

    def start(
        status: int = 200,
        ahead: float = 0,
        age: int | None = None,
        until: threading.Event | None = None,
        seen: list[str] | None = None,
    ) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                if seen is not None:
                    seen.append(self.path)
                if until:
                    until.wait(60)
                self.send_response_only(status)
                self.send_header("Date", formatdate(time.time() + ahead, usegmt=True))
                if age is not None:
                    self.send_header("Age", str(age))
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _ask(
    monkeypatch: pytest.MonkeyPatch, modelscope: str, huggingface: str, timeout: float = 30.0
) -> list[doctor.Check]:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", modelscope)
    monkeypatch.setenv("HF_ENDPOINT", huggingface)
    return doctor.check_network(network.ask(timeout))


REFUSES = "http://127.0.0.1:9"


def test_both_answer_the_faster_one_first(hub: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    hubs, clock = _ask(monkeypatch, hub(404), hub())
    assert (hubs.level, clock.level) == ("ok", "ok")
    assert hubs.sentence.count("answers in") == 2
    fast = network.Answer("huggingface", "Hugging Face", "x", seconds=0.1)
    slow = network.Answer("modelscope", "ModelScope", "x", seconds=0.2)
    assert doctor.check_network([slow, fast])[0].sentence.startswith("Hugging Face answers in 100 ms; ModelScope")


@pytest.mark.parametrize("status", [503, 407])
def test_one_answers(hub: Start, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    hubs, _clock = _ask(monkeypatch, hub(), hub(status))
    assert hubs.level == "note"
    assert f"Hugging Face does not answer (it says {status}" in hubs.sentence
    assert "--source modelscope" in hubs.fix


def test_none_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    (hubs,) = _ask(monkeypatch, REFUSES, "gopher://hub")
    assert hubs.level == "note"
    assert "refused" in hubs.sentence and "gopher" in hubs.sentence
    assert "HTTPS_PROXY" in hubs.fix
    monkeypatch.setenv("APPLIANCE_CONTAINER", "1")
    assert "docker run -e HTTPS_PROXY" in _ask(monkeypatch, REFUSES, "http://[")[0].fix


def test_three_seconds_in_all(hub: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    until = threading.Event()
    (hubs,) = _ask(monkeypatch, hub(until=until), hub(until=until), timeout=0.3)
    until.set()  # only now do they answer
    assert hubs.sentence.count("does not answer") == 2


@pytest.mark.parametrize(
    ("ahead", "words"), [(3600, "60 minutes slow"), (-7200, "120 minutes fast"), (200, "right"), (-200, "right")]
)
def test_clock(hub: Start, monkeypatch: pytest.MonkeyPatch, ahead: float, words: str) -> None:
    clock = _ask(monkeypatch, REFUSES, hub(ahead=ahead))[1]
    assert words in clock.sentence
    assert clock.ok == (words == "right")
    assert clock.ok or "timedatectl" in clock.fix or "sntp" in clock.fix


def test_an_old_answer_of_a_cache_is_no_wrong_clock(hub: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ask(monkeypatch, REFUSES, hub(ahead=-3600, age=3600))[1].ok
    assert _ask(monkeypatch, hub(ahead=-3600), hub())[1].ok


def test_through_a_proxy(hub: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setenv("ALL_PROXY", hub(seen=seen))
    assert "Hugging Face answers" in _ask(monkeypatch, "gopher://x", "http://huggingface.invalid")[0].sentence
    assert "http://huggingface.invalid" in [path.rstrip("/") for path in seen]


def test_where_the_hubs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "mirror.example")
    assert [answer.endpoint for answer in network.endpoints()] == ["https://mirror.example", "https://huggingface.co"]
