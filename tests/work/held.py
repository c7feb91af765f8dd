"""A worker that waits in its middle, so that what a test does there hits it there: `held.py WHERE JOB_FOLDER`.

WHERE is a number: of weight files, behind which a merge waits until it is asked to stop, or of a step, in which a
fine-tune waits to be killed; or "saving", where a fine-tune whose steps are all done does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
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


def for_ever(*_words: Any) -> None:
    while True:
        signal.pause()


def hold_saving() -> None:
    from appliance.work import finetune

    finetune._save = for_ever


def hold_in_step(step: int) -> None:
    from appliance.work import trainers

    real = trainers.of

    def of(*words: Any) -> Any:
        kind, settings, own = real(*words)

        class Held(kind):  # type: ignore[misc, valid-type]
            def training_step(self, *inputs: Any, **options: Any) -> Any:
                return for_ever() if self.state.global_step == step else super().training_step(*inputs, **options)

        return Held, settings, own

    trainers.of = of


if __name__ == "__main__":
    from appliance.work.__main__ import main

    where = sys.argv.pop(1)
    if where == "saving":
        hold_saving()
    else:
        of_this_kind = hold_behind if Job(Path(sys.argv[1])).kind == "merge" else hold_in_step
        of_this_kind(int(where))
    sys.exit(main())
