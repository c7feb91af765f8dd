"""The opt-in log of requests and answers, a JSON line each. Standard library only: the guard runs this.

    {"t", "key", "model", "status", "seconds", "finish_reason", "usage", "tools", "messages": [..., the answer]}

`messages` (for /v1/completions `prompt` and `completion`) is what `appliance data check` reads as rows. `key` is the
key's name, never the key. Lines are written by a thread of their own, each in one write, so that neither the event
loop waits nor a line is torn; a file that is full is renamed (`requests.1.jsonl` is the newest before).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

FULL_BYTES = 64 << 20
KEPT_FILES = 20
_WAITING = 1000

_log = logging.getLogger("appliance.guard")


class RequestLog:
    """Writes to `path`, mode 0600. What can't be written (a full disk) is given up, never the answer."""

    def __init__(self, path: Path, full_bytes: int = FULL_BYTES):
        self._path, self._full = path, full_bytes
        self._lines: queue.Queue[tuple[dict[str, Any], dict[str, Any], list[bytes], bool] | None]
        self._lines = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, facts: dict[str, Any], request: dict[str, Any], kept: list[bytes], streams: bool) -> None:
        """One request. `facts`: key, model, status, seconds; `kept`: the bytes of its answer."""
        try:
            self._lines.put_nowait(({"t": round(time.time(), 3), **facts}, request, kept, streams))
        except queue.Full:  # a disk that hangs must not eat the memory
            _log.warning("the request log can't keep up: a request is left out")

    def close(self) -> None:
        """Wait until all is written."""
        self._lines.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        torn = False
        while (item := self._lines.get()) is not None:
            try:
                torn = self._write(row(*item), torn)
            except Exception:
                _log.exception("a request could not be logged")

    def _write(self, value: dict[str, Any], torn: bool) -> bool:
        line = (b"\n" if torn else b"") + json.dumps(value, ensure_ascii=False).encode() + b"\n"
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size + len(line) > self._full:
                self._rotate()
        # Opened anew each time: a person may have moved the file away to train on it.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A disk that fills up takes a part of a line: the next one then closes it off.
            return os.write(handle, line) < len(line)
        finally:
            os.close(handle)

    def _rotate(self) -> None:
        def named(number: int) -> Path:
            return self._path.with_name(f"{self._path.stem}.{number}{self._path.suffix}")

        named(KEPT_FILES).unlink(missing_ok=True)
        for number in range(KEPT_FILES - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(named(number), named(number + 1))
        os.rename(self._path, named(1))


def row(facts: dict[str, Any], request: dict[str, Any], kept: list[bytes], streams: bool) -> dict[str, Any]:
    """The line of one request; a streamed answer is put together."""
    body = b"".join(kept)
    choice, usage = _streamed(body) if streams else _whole(body)
    value = {**facts, "finish_reason": choice.get("finish_reason"), "usage": usage}
    if "messages" not in request:
        return {**value, "prompt": request.get("prompt"), "completion": choice.get("text", "")}
    if request.get("tools"):
        value["tools"] = request["tools"]
    answer = {key: part for key, part in (choice.get("message") or {}).items() if part}
    # An answer that was cut off or refused is told, but is no row to learn from.
    said = [{"role": "assistant", "content": "", **answer}] if answer else []
    return {**value, "messages": [*request["messages"], *said]}


def _whole(body: bytes) -> tuple[dict[str, Any], Any]:
    try:
        value = json.loads(body)
        return (value.get("choices") or [{}])[0], value.get("usage")
    except (ValueError, AttributeError):
        return {}, None


def _streamed(body: bytes) -> tuple[dict[str, Any], Any]:
    """The first choice of a stream's events as one choice, and the usage if it was told."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    choice: dict[str, Any] = {}
    usage = None
    for line in body.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        try:
            event = json.loads(line[6:])
        except ValueError:  # cut off
            continue
        usage = event.get("usage") or usage
        for part in event.get("choices") or []:
            if part.get("index"):
                continue
            choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
            choice["text"] = choice.get("text", "") + (part.get("text") or "")
            delta = part.get("delta") or {}
            for field in ("content", "reasoning_content"):
                if delta.get(field):
                    message[field] = message.get(field, "") + delta[field]
            for piece in delta.get("tool_calls") or []:
                call = calls.setdefault(piece.get("index", 0), {"type": "function", "function": {}})
                call.update({"id": piece["id"]} if piece.get("id") else {})
                for field, text in (piece.get("function") or {}).items():
                    call["function"][field] = call["function"].get(field, "") + (text or "")
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    if message:
        choice["message"] = {"role": "assistant", **message}
    return choice, usage
