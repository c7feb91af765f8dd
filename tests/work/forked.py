"""Workers forked from a process that has imported torch and the trainers once: each starts in a blink, and does what a
worker started anew does. `Forked` is the front's half; run as a program, this file is the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.jobs.folder import Job


class Forked:
    """Put in the place of `control._spawn` by `with Forked() as spawn`."""

    def __enter__(self) -> Forked:
        self._process = subprocess.Popen(
            [settings.python_of("train"), __file__],
            env={**settings.child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"
        self._running = False
        return self

    def __call__(self, job: Job, *_more: Any) -> None:
        assert self._process.stdin and self._process.stdout
        if self._running:  # nobody asked how the last one ended
            self.ended()
        self._process.stdin.write(f"{job.folder}\n")
        self.pid = int(self._process.stdout.readline())
        self._running = True

    def ended(self) -> int:
        """Wait for the last one; 0, or minus the signal that ended it."""
        assert self._process.stdout
        self._running = False
        return int(self._process.stdout.readline())

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    out = os.fdopen(os.dup(1), "w", buffering=1)
    import torch  # noqa: F401
    from peft import LoraConfig  # noqa: F401
    from trl import SFTConfig, SFTTrainer  # noqa: F401

    from appliance.work import __main__ as worker
    from appliance.work import finetune  # noqa: F401

    print("ready", file=out)
    for line in sys.stdin:
        folder = Path(line.strip())
        pid = os.fork()
        if pid == 0:
            os.setsid()
            log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["APPLIANCE_HOME"] = str(folder.parent.parent)
            sys.argv = ["work", str(folder)]
            try:
                os._exit(worker.main())
            finally:
                os._exit(9)
        print(pid, file=out)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=out)


if __name__ == "__main__":
    main()
