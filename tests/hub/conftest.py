from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from bringing import Bring
from fake_hub import FakeHub
from model_files import model_files

from appliance import locale

# Read by ModelScope's client once, at its import: without retries a hub that is down is told at once.
os.environ["MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS"] = "1"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    locale.set_language("en")
    yield tmp_path / "home"
    locale.set_language("en")


@pytest.fixture
def closed_address() -> Iterator[str]:
    """An address where nothing listens, nor will: it is taken."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{one.getsockname()[1]}"


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeHub]]:
    """Both hubs with the same model."""
    both = {"huggingface": FakeHub(model_files()), "modelscope": FakeHub(model_files())}
    monkeypatch.setenv("HF_ENDPOINT", both["huggingface"].address)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", both["modelscope"].address)
    yield both
    for hub in both.values():
        hub.close()


@pytest.fixture
def bring() -> Bring:
    return Bring()
