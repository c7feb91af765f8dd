"""Thumbs up and down from chats: kept as rows, and made into a KTO set.

A row of the file: {"t", "model", "prompt": [messages], "completion": [the answer as a message], "label": true | false}
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _


def add(path: Path, model: str, messages: list[dict[str, Any]], good: bool) -> None:
    """Keep a judgement on the last of `messages`, which is the answer: a whole line or none, readable by you only.

    Raises OSError when there is no room for it.
    """
    row = {
        "t": round(time.time(), 3),
        "model": model,
        "prompt": messages[:-1],
        "completion": messages[-1:],
        "label": good,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        torn = size and os.pread(handle, 1, size - 1) != b"\n"  # half a line from a power cut: close it off
        line = (b"\n" if torn else b"") + json.dumps(row, ensure_ascii=False).encode() + b"\n"
        if os.write(handle, line) < len(line):  # the disk is full
            os.ftruncate(handle, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(handle)  # a person's word is not given twice
    finally:
        os.close(handle)


def to_kto(path: Path, to: Path, model: str | None = None) -> dict[str, Any]:
    """Write the KTO set. {file, rows, good, bad, models}. The last word on an answer counts.

    Raises ApplianceError when there is nothing to make it of.
    """
    judged: dict[str, dict[str, Any]] = {}
    models: dict[str, int] = {}
    for row in _rows(path):
        if model is not None and row["model"] != model:
            continue
        key = json.dumps([row["prompt"], row["completion"]], sort_keys=True, ensure_ascii=False)
        judged.pop(key, None)
        judged[key] = row
    if not judged:
        raise ApplianceError(
            _("There is no feedback yet.")
            if model is None
            else _("There is no feedback for {name}.").format(name=model),
            _("It comes from the thumbs on the chat page, and from /good and /bad in the terminal."),
            _("Talk to a server: appliance serve M --page, or appliance chat"),
        )
    with files.replacing(to, mode=0o600) as file:
        for row in judged.values():
            models[row["model"]] = models.get(row["model"], 0) + 1
            line = {name: row[name] for name in ("prompt", "completion", "label")}
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    good = sum(row["label"] for row in judged.values())
    return {"file": str(to), "rows": len(judged), "good": good, "bad": len(judged) - good, "models": models}


def count(path: Path) -> int:
    """How many thumbs there are."""
    return sum(1 for _row in _rows(path))


def facts(made: dict[str, Any]) -> list[tuple[str, str]]:
    """The set in (label, value) pairs."""
    told = _("{rows}: {good} good, {bad} bad").format(rows=made["rows"], good=made["good"], bad=made["bad"])
    return [(_("File"), made["file"]), (_("Rows"), told), (_("Models"), ", ".join(made["models"]))]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            row = json.loads(line)
            if isinstance(row["label"], bool) and row["prompt"] and row["completion"] and isinstance(row["model"], str):
                yield row
        except (ValueError, KeyError, TypeError):  # torn
            continue
