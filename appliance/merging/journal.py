"""Which weight files of a merge are finished: a line for each, on the disk before it counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from appliance import files

NAME = ".merging.jsonl"


def staging_folder(to: Path, job: str) -> Path:
    """Where a merge is made before it stands at `to`. Of this job alone: two merges to one name must not share it."""
    return to.with_name(f".{to.name}.{job}.partial")


class Journal:
    """Of one staging folder. It begins with what is merged; a journal of something else is begun anew."""

    def __init__(self, folder: Path, what: dict[str, Any]):
        self.path = folder / NAME
        self.finished: dict[str, str] = {}
        lines = self._lines()
        if lines and lines[0] == what:
            for line in lines[1:]:
                target = folder / str(line.get("name"))
                if target.is_file() and target.stat().st_size == line.get("size"):
                    self.finished[target.name] = str(line["sha256"])
        # Rewritten whole: a line that was torn by a kill is gone, and so are files that are.
        text = [
            what,
            *({"name": n, "size": (folder / n).stat().st_size, "sha256": s} for n, s in self.finished.items()),
        ]
        files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in text))

    def _lines(self) -> list[dict[str, Any]]:
        try:
            raw = self.path.read_text(encoding="utf-8").split("\n")
        except OSError:
            return []
        found = []
        for line in raw:
            try:
                value = json.loads(line)
            except ValueError:
                break
            if not isinstance(value, dict):
                break
            found.append(value)
        return found

    def add(self, name: str, size: int, sha256: str) -> None:
        """This file is on the disk."""
        with self.path.open("ab") as file:
            file.write((json.dumps({"name": name, "size": size, "sha256": sha256}) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self.finished[name] = sha256
