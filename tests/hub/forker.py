"""A process that has imported everything and forks a worker for each line on its input: a start costs no time.

Says the worker's pid, and when it has ended, its exit code. One that ended well leaves its /proc/self/io as `io` in
the workspace.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from bringing import QUICK, Bring

LIMITS = replace(QUICK, most=4, stall=20.0, window=20.0)


class Forker:
    """Started in the environment of now. `start()` returns a pid; `ended()` waits and returns the worker's status."""

    def __init__(self, source: str):
        self._process = subprocess.Popen(
            [sys.executable, __file__, source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        )

    def start(self) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("go\n")
        return int(self._process.stdout.readline())

    def ended(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    import huggingface_hub  # noqa: F401
    import modelscope_hub  # noqa: F401

    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                Bring()(source=sys.argv[1], limits=LIMITS)
                Path(os.environ["APPLIANCE_HOME"], "io").write_text(Path("/proc/self/io").read_text())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
