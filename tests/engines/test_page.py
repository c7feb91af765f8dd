"""The chat page as a real process in front of the real server: the key, a chat streamed, thumbs to rows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import NAME, Server, free_port  # type: ignore[attr-defined]

from appliance import data, files, settings
from appliance.data import feedback
from appliance.engines import keys
from appliance.page import words
from appliance.page.door import Door
from appliance.work.engine_process import answers_as

QUESTION = "你好, how are you?"
ANSWER = "I am well. 100 101 102"


@dataclass
class Page:
    address: str
    key: str
    key_file: Path
    rows: Path
    log: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def page(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    key_file = folder / "key"  # the page's own copy, so that a key can be revoked here; the server knows it too
    files.write_text(key_file, server.key + "\n", mode=0o600)
    port = free_port()
    told = {
        "address": f"{server.address}/v1", "names": [NAME], "keys": str(key_file), "host": "127.0.0.1", "port": port,
        "instance": "mine", "rows": str(folder / "rows.jsonl"),
    }  # fmt: skip
    (folder / "page.json").write_text(json.dumps(told))
    assert server.key not in json.dumps(told)
    log = folder / "log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [settings.python_of("page"), "-P", "-m", "appliance.page", folder / "page.json"],
            cwd=folder,
            # No way out: what it would fetch or tell by itself would fail here, and be seen in its log.
            env={
                **settings.child_environment(),
                "HTTPS_PROXY": "http://127.0.0.1:9",
                "HTTP_PROXY": "http://127.0.0.1:9",
            },
            stdout=out,
            stderr=out,
        )
    address = f"http://127.0.0.1:{port}"
    while not answers_as(f"{address}/health", "mine"):
        assert child.poll() is None, log.read_text()
    yield Page(address, server.key, key_file, folder / "rows.jsonl", log, child)
    child.terminate()
    child.wait(20)
    told_by_it = log.read_text()
    assert server.key not in told_by_it and "Traceback" not in told_by_it, told_by_it
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


@contextmanager
def browser(page: Page, key: str | None = None) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=page.address, trust_env=False, timeout=60) as made:
        if key is not None:
            made.post("/sign-in", data={"key": key})
        yield made


def gradio_routes() -> list[tuple[str, str]]:
    """(method, path) of every route in gradio's own router, with something in place of each field."""
    (source,) = settings.python_of("page").parent.parent.glob("lib/python3*/site-packages/gradio/routes.py")
    found = re.findall(r"@(app|router)\.(get|post|head)\(\s*f?\"([^\"]+)\"", source.read_text())
    assert len(found) > 60
    return [
        (method.upper(), ("/gradio_api" if on == "router" else "") + re.sub(r"\{[^}]*\}", "x", path))
        for on, method, path in found
    ]


def test_without_a_key_there_is_the_sign_in_and_nothing_else(page: Page) -> None:
    with browser(page) as stranger:
        for method, path in [*gradio_routes(), ("GET", "/gradio_api/file=/etc/passwd"), ("GET", "/docs")]:
            answer = stranger.request(method, path, json={} if method == "POST" else None)
            if (method, path) == ("GET", "/"):
                assert answer.status_code == 200 and 'type="password"' in answer.text and "gradio" not in answer.text
            else:
                assert answer.status_code == 401, (method, path)
        for wrong in ("", "sk-wrong", page.key[:-1], page.key + "x", "密" * 40, "x" * 4000):
            answer = stranger.post("/sign-in", data={"key": wrong})
            assert answer.status_code == 401 and not answer.cookies and 'role="alert"' in answer.text
        assert stranger.post("/sign-in", content=b"key=" + b"x" * 10_000).status_code == 413
        assert stranger.get("/config", headers={"Cookie": f"appliance-page-1={page.key}"}).status_code == 401
        assert stranger.get("/config", headers={"Cookie": 'a b;;="\\'}).status_code == 401
        assert stranger.get("/", headers={"X": "y" * 20_000}).status_code == 431
        assert "zh-CN" in stranger.get("/", headers={"Accept-Language": "zh-TW,en;q=0.5"}).text


def status(web: httpx2.Client, method: str, path: str) -> int:
    with web.stream(method, path, json={} if method == "POST" else None) as answer:  # some never end
        return answer.status_code


def test_with_a_key_the_page_and_none_of_gradios_other_doors(page: Page) -> None:
    with browser(page) as web:
        answer = web.post("/sign-in", data={"key": page.key})
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 303 and page.key not in cookie
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        shown = web.get("/")
        assert shown.status_code == 200 and "gradio_config" in shown.text and page.key not in shown.text
        assert "default-src 'self'" in shown.headers["content-security-policy"]
        # What it loads comes from here: no font, script or picture of another host.
        assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//", shown.text) == []
        open_ones = {path for method, path in gradio_routes() if status(web, method, path) != 404}
        assert open_ones == {
            "/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/startup-events",
            "/gradio_api/queue/data", "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset",
            "/gradio_api/heartbeat/x",
        }  # fmt: skip
        for path in ("file=/etc/passwd", "file=page.json", "proxy=http://127.0.0.1/", "upload", "openapi.json"):
            assert web.get(f"/gradio_api/{path}").status_code == 404
        assert web.post("/gradio_api/upload", files={"files": b"x"}).status_code == 404
        assert web.get("/assets/%2e%2e/%2e%2e/%2e%2e/routes.py").status_code == 404
        assert web.get("/", headers={"Accept-Language": "zh"}).headers.get("access-control-allow-origin") is None
        other = {"Origin": "http://evil.example"}
        assert web.post("/gradio_api/queue/join", json={}, headers=other).status_code == 403
        assert web.post("/gradio_api/queue/join", content=b"x" * (5 << 20)).status_code == 413
        web.get("/sign-out")
        assert web.get("/config").status_code == 401


def config(web: httpx2.Client) -> dict[str, dict[str, Any]]:
    """The page's functions by name."""
    return {one["api_name"]: one for one in web.get("/config").json()["dependencies"]}


def call(web: httpx2.Client, function: dict[str, Any], values: list[Any], session: str, **more: Any) -> list[Any]:
    """What the browser does: put a question into gradio's queue, read what comes; each thing it was sent."""
    asked = {"data": values, "fn_index": function["id"], "session_hash": session, "trigger_id": None, **more}
    if not function["queue"]:
        answer = web.post("/gradio_api/run/predict", json={"event_data": None, **asked})
        assert answer.status_code == 200, answer.text
        return [answer.json()["data"]]
    joined = web.post("/gradio_api/queue/join", json={"event_data": None, **asked})
    assert joined.status_code == 200, joined.text
    seen = []
    with web.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                if event["msg"] in ("process_generating", "process_completed"):
                    seen.append(event)
                if event["msg"] == "process_completed":
                    return seen
    raise AssertionError(seen)


def test_a_chat_is_streamed_and_thumbs_become_a_set_that_training_takes(page: Page, tmp_path: Path) -> None:
    with browser(page, page.key) as web:
        functions = config(web)
        call(web, functions["_clear_and_save_textbox"], [QUESTION, None], "one")
        seen = call(web, functions["_submit_fn"], [None, None, None], "one")
        told = json.dumps([event["output"] for event in seen], ensure_ascii=False)
        assert len(seen) > 10 and seen[-1]["success"], seen[-1]  # piece by piece
        assert "I am well." in told and "117" in told

        said = [
            {"role": "user", "content": [{"type": "text", "text": QUESTION}], "metadata": None, "options": None},
            {"role": "assistant", "content": [{"type": "text", "text": ANSWER}], "metadata": None, "options": None},
        ]
        for liked, index in ((True, 1), (False, 1), ("", 1), (True, 0), (True, 9)):  # the last three judge no answer
            thumb = {"index": index, "value": ANSWER, "liked": liked}
            assert call(web, functions["judge"], [said, None], "one", event_data=thumb)[-1]["success"]
        call(web, functions["_clear_and_save_textbox"], ["x" * 500, None], "two")
        refused = call(web, functions["_submit_fn"], [None, None, None], "two")[-1]
        assert not refused["success"] and "maximum context length is 400" in refused["output"]["error"]
    rows = [json.loads(line) for line in page.rows.read_text().splitlines()]
    assert [row["label"] for row in rows] == [True, False] and {row["model"] for row in rows} == {NAME}
    assert rows[0]["prompt"] == [{"role": "user", "content": QUESTION}]
    assert page.rows.stat().st_mode & 0o777 == 0o600
    made = feedback.to_kto(page.rows, tmp_path / "kto.jsonl")
    report = data.check(tmp_path / "kto.jsonl")
    assert (made["rows"], report.task, report.kept) == (1, "kto", 1)


def test_a_revoked_key_ends_its_sessions(page: Page) -> None:
    with browser(page, page.key) as web:
        assert web.get("/config").status_code == 200
        files.write_text(page.key_file, keys.new_key() + "\n", mode=0o600)
        assert web.get("/config").status_code == 401
        files.write_text(page.key_file, page.key + "\n", mode=0o600)
        assert web.get("/config").status_code == 401  # and does not come back by itself


def test_without_keys_only_this_machine_by_its_own_name_is_let_in() -> None:
    async def inside(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    door = Door(inside, None, 7860, "i", words.all_of_them("m", signed_in=False))

    def status(server: str, host: bytes, method: str = "GET", path: str = "/", **more: bytes) -> int:
        seen: list[int] = []

        async def send(message: Any) -> None:
            seen.append(message.get("status", 0))

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        headers = [(b"host", host), *((name.encode(), value) for name, value in more.items())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "server": (server, 7860)}
        asyncio.run(door(scope, receive, send))
        return seen[0]

    assert status("127.0.0.1", b"localhost:7860") == status("::1", b"[::1]:7860") == 200
    assert status("127.0.0.1", b"evil.example") == status("192.168.1.5", b"192.168.1.5:7860") == 403
    assert status("127.0.0.1", b"localhost", "POST", "/gradio_api/cancel", origin=b"http://localhost") == 200
    assert status("127.0.0.1", b"localhost", "POST", "/gradio_api/cancel", origin=b"null") == 403
    assert status("127.0.0.1", b"localhost", "POST", "/sign-in") == 404


def test_the_door_needs_no_library() -> None:
    code = "import sys; import appliance.page.door; print([m for m in ('gradio', 'typer', 'rich') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(settings.CODE_ROOT)}
    told = subprocess.run([settings.python_of("core"), "-c", code], env=environment, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"
