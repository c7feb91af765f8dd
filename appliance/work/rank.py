"""One of a fine-tune's processes: `python -m appliance.work.rank JOB_FOLDER`, started by `ranks`, one for each card."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from appliance import files
from appliance.engines.tether import tie_to_parent
from appliance.errors import Stopped, explain
from appliance.locale import set_language
from appliance.work import out_of_memory
from appliance.work.context import Context
from appliance.work.ranks import outcome_file
from appliance.work.versions import library_versions


class Share(Context):
    """A part of a job: what it says counts if it is the first; state, lock and cards are the worker's."""

    def __init__(self, folder: Path, rank: int):
        super().__init__(folder)
        self.rank = rank

    def begin(self) -> None:
        """Open the events, and listen to the worker's request to stop."""
        self._events = os.open(self.folder / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def event(self, kind: str, **values: Any) -> None:
        """All go through the same steps: one of them tells."""
        if self.rank == 0:
            super().event(kind, **values)


def main() -> int:
    """Do this process's part; exit code 0 done, 1 failed, 143 stopped. How it ended is in a file of its own."""
    tie_to_parent()
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    context = Share(folder, rank)
    context.begin()
    set_language(context.job.spec.get("language"))
    try:
        from appliance.work.finetune import train

        made = train(context)
        files.write_json(outcome_file(folder, rank), {"result": {**made, "versions": library_versions()}})
        _leave()
        return 0
    except out_of_memory.Full as full:
        files.write_json(outcome_file(folder, rank), {"full": {"step": full.step, "why": full.why}})
        code = 1
    except Stopped:
        code = 143
    except BaseException as error:
        traceback.print_exc()
        files.write_json(outcome_file(folder, rank), {"error": explain(error).as_dict()})
        code = 1
    # At once: the libraries' farewells would wait for processes that wait for this one.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave() -> None:
    """Say goodbye to the others; without it torch complains."""
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
