"""A worker: `python -m appliance.work JOB_FOLDER`, started detached, in the environment that the job needs."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from appliance.errors import Stopped, explain
from appliance.jobs.folder import Job, State
from appliance.locale import set_language
from appliance.work.context import Context
from appliance.work.versions import library_versions

KINDS = {
    "download": "appliance.work.download",
    "export": "appliance.work.export",
    "push": "appliance.work.push",
    "verify": "appliance.work.verify",
    "finetune": "appliance.work.finetune",
    "merge": "appliance.work.merge",
    "quantize": "appliance.work.quantize",
    "install": "appliance.work.install",
    "serve": "appliance.work.serve",
    "demo-model": "appliance.work.demo_model",
}


def main() -> int:
    """Do the job; exit code 0 done, 1 failed, 143 stopped. What went wrong is in state.json, details in log.txt."""
    folder = Path(sys.argv[1])
    os.umask(0o022)
    try:
        context = Context(folder)
        context.begin()
    except BlockingIOError:  # another worker is at it
        traceback.print_exc()
        return 1
    except Exception as error:
        traceback.print_exc()
        job = Job(folder)
        job.write_state(State("failed", attempt=job.written_state().attempt, error=explain(error).as_dict()))
        return 1
    with context:
        set_language(context.job.spec.get("language"))
        began = time.time()
        try:
            context.check_stopped()
            context.take_accelerators()
            context.set_state("running", waiting_for=None, error=None)
            made = importlib.import_module(KINDS[context.kind]).run(context)
            context.finish("done", result=_result(context, made, began))
            return 0
        except BaseException as error:
            if isinstance(error, Stopped) or context.broken_off:
                context.finish("stopped")
                return 143
            # On a full disk the log can't be written either; the state must be.
            with contextlib.suppress(OSError):
                traceback.print_exc()
                sys.stderr.flush()
            context.finish("failed", error=explain(error).as_dict())
            return 1


def _result(context: Context, made: dict[str, Any], began: float) -> dict[str, Any]:
    """result.json: what was made, plus versions and timings. Memory in GiB."""
    return {
        "id": context.id,
        "kind": context.kind,
        "versions": library_versions(),
        **made,
        # Of several processes the largest one.
        "host_memory_peak_gib": round(max(_memory_peak(), _children_peak()) / 2**30, 3),
        "seconds": round(time.time() - began, 2),
        "attempts": context.attempt,
    }


def _children_peak() -> int:
    """Bytes of the largest of the processes that this one has started."""
    # ru_maxrss counts kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _memory_peak() -> int:
    """Bytes of this process's own memory at most."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    except (OSError, StopIteration):
        # macOS, where ru_maxrss counts bytes; on Linux it would count what the starter had, too.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
