"""`appliance …` as a process: what it printed, what it answered."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """stdout is ONE JSON object, alone on one line."""
        assert self.out.count("\n") == 1, self.out + self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def appliance(*words: object, wrap: tuple[str, ...] = (), **options: Any) -> Said:
    """Without a terminal, as in a pipe. Never a traceback, whatever the words."""
    command = [*wrap, sys.executable, "-m", "appliance", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, **options)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return Said(done.returncode, done.stdout, done.stderr)
