"""A worker that waits in its middle, so that what a test does there hits it there: `held.py WHERE JOB_FOLDER`.

WHERE is a number of weight files, behind which a merge waits until it is asked to stop; or "saving", where a fine-tune
whose steps are all done waits to be killed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from appliance import settings
from appliance.errors import Stopped
from appliance.jobs import control
from appliance.jobs.folder import Job


def held(where: int | str, start: Callable[[], Job]) -> Job:
    """What `start` submits or resumes, with such a worker."""
    import pytest  # not in the worker's environment

    def spawn(job: Job, environment: str, _kind: str) -> None:
        subprocess.Popen(
            [settings.python_of(environment), __file__, str(where), job.folder],
            env={**settings.child_environment(), "OMP_NUM_THREADS": "1"},
            cwd=job.folder,
            start_new_session=True,
            stdout=job.log.open("ab"),
            stderr=subprocess.STDOUT,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "_spawn", spawn)
        return start()


def hold_behind(count: int) -> None:
    from appliance.merging import stream

    real = stream.write

    def write(*words: Any, finished: Callable[..., None], check_stopped: Callable[[], None], **more: Any) -> None:
        done = 0

        def one_more(*told: Any) -> None:
            nonlocal done
            finished(*told)
            done += 1
            try:
                while done == count:
                    check_stopped()
                    time.sleep(0.01)
            except Stopped:  # it is told so again, in the middle of the next file
                return

        real(*words, finished=one_more, check_stopped=check_stopped, **more)

    stream.write = write


def hold_saving() -> None:
    from appliance.work import finetune

    def save(*_words: Any) -> None:
        while True:
            signal.pause()

    finetune._save = save


if __name__ == "__main__":
    from appliance.work.__main__ import main

    where = sys.argv.pop(1)
    hold_saving() if where == "saving" else hold_behind(int(where))
    sys.exit(main())
