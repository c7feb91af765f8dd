"""Judgements are kept whole or not at all, also on a full disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from appliance.data import feedback

SCRIPT = """
import resource, signal, sys
from pathlib import Path
from appliance.data import feedback
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))  # room for the beginning of a line
try:
    feedback.add(path, "m", [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a" * 100}], True)
except OSError as error:
    print(error.strerror)
assert path.stat().st_size == size
"""


def test_a_line_for_which_there_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "feedback" / "rows.jsonl"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    feedback.add(path, "m", messages, False)
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "No space left on device\n"), done.stderr
    feedback.add(path, "m", messages, True)
    assert [json.loads(line)["label"] for line in path.read_text().splitlines()] == [False, True]
