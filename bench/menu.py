"""CPU time to the menu's first frame, against the bare imports it stands on and against the hubs' own `--help`.

CPU seconds (user + system) of the whole process, the smallest of several runs in turn: wall time on a busy machine says
little. The menu runs in a real pseudo-terminal of 80×24 and counts until its last entry is on the screen.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parent.parent
CORE = Path(os.environ.get("APPLIANCE_ENVS") or ROOT / ".envs") / "core" / "bin"
ROUNDS = 9
ALLOWED = 1.25


def command(*words: str) -> float:
    """CPU seconds of a command that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def menu() -> float:
    """CPU seconds of the menu until its last entry is drawn."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "APPLIANCE_HOME": home, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        child = pexpect.spawn(str(CORE / "appliance"), env=environment, dimensions=(24, 80), timeout=60)
        child.expect(r"q\) Quit")
        ticks = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        child.close(force=True)
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Print the table; exit 1 when the menu takes more than is allowed."""
    runs: dict[str, Callable[[], float]] = {
        "menu to its first frame": menu,
        "import rich.console, questionary": lambda: command(
            str(CORE / "python"), "-c", "import rich.console, questionary"
        ),
        "hf --help": lambda: command(str(CORE / "hf"), "--help"),
        "modelscope --help": lambda: command(str(CORE / "modelscope"), "--help"),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _round in range(ROUNDS):
        for name, run in runs.items():
            taken[name].append(run())
    best = {name: min(values) for name, values in taken.items()}
    ours = best["menu to its first frame"]
    print(f"CPU seconds, smallest of {ROUNDS} (median in brackets); ratio: menu / other")
    for name, value in best.items():
        print(f"  {name:<34} {value:6.3f} ({sorted(taken[name])[ROUNDS // 2]:.3f})   {ours / value:5.2f}")
    ratio = ours / best["import rich.console, questionary"]
    print(f"menu against its imports: {ratio:.2f} (allowed {ALLOWED})")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
