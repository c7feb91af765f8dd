"""A fine-tune on several cards: a process for each, started and watched by the job's worker.

They find each other as torchrun's do, by its environment variables and a store that the worker keeps; transformers and
accelerate read those by themselves. The worker has the job's lock, state and cards; the first process writes events,
checkpoints and the adapter. When one of them fails, the others end too: they would wait for it for ever.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from appliance import files, settings
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work import out_of_memory
from appliance.work.context import Context

# Where each process leaves how it ended.
_OUTCOMES = ".ranks"
# From the end of the first to the end of the others, which have nobody to talk to any more.
_GRACE_SECONDS = 10.0
_KEYS = {names[0] for names in settings.TRACKERS.values()}
_HOST = "127.0.0.1"


def outcome_file(folder: Path, rank: int) -> Path:
    """Where that process of the job leaves its result or error."""
    return folder / _OUTCOMES / f"{rank}.json"


def run(context: Context, count: int) -> dict[str, Any]:
    """Do the job in `count` processes; the first one's result. Raises what the first to fail said, or Stopped."""
    import torch.distributed as dist

    shutil.rmtree(context.folder / _OUTCOMES, ignore_errors=True)
    # Port 0: any that is free. The store is this process's, so that no other can take the port in between.
    store = dist.TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            processes.append(_start(context.folder, rank, count, store.port))
        _wait(context, processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    context.check_stopped()
    result: dict[str, Any] = files.read_json(outcome_file(context.folder, 0))["result"]
    shutil.rmtree(context.folder / _OUTCOMES, ignore_errors=True)
    return result


def _start(folder: Path, rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    variables = {
        "OMP_NUM_THREADS": str(max(1, cores // count)),  # each would take all cores for itself
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "APPLIANCE_PARENT": str(os.getpid()),
    }
    if rank:  # the first one alone tells a tracker
        variables = {name: value for name, value in variables.items() if name not in _KEYS}
    # In the worker's own group: whoever ends that ends them all.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "appliance.work.rank", str(folder)], env=variables, stdin=subprocess.DEVNULL
    )


def _wait(context: Context, processes: list[subprocess.Popen[bytes]]) -> None:
    """Until all have ended well, or been stopped; raises the error of the first that failed."""
    told, deadline = False, None
    while True:
        codes = [process.poll() for process in processes]
        if all(code is not None for code in codes):
            break
        if context.stopping.is_set() and not told:
            told = True
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
        if any(codes):  # one has failed, or stopped
            deadline = deadline or time.monotonic() + _GRACE_SECONDS
            if time.monotonic() > deadline or not told:
                break
        time.sleep(0.05)
    if context.stopping.is_set():
        return
    failed = [(rank, code) for rank, code in enumerate(codes) if code]
    if failed:
        raise _error(context.folder, *min(failed, key=lambda pair: _when(context.folder, *pair)))


def _when(folder: Path, rank: int, code: int) -> float:
    """Which failed first: the others then lose their connection, and say so in files of their own."""
    if code == -signal.SIGKILL:  # by someone else, and with no time to write anything
        return 0.0
    try:
        return outcome_file(folder, rank).stat().st_mtime
    except OSError:
        return math.inf


def _error(folder: Path, rank: int, code: int) -> Exception:
    try:
        outcome = files.read_json(outcome_file(folder, rank))
        if "full" in outcome:
            return out_of_memory.Full(**outcome["full"])
        return ApplianceError.from_dict(outcome["error"])
    except (OSError, ValueError, KeyError):
        why = _("It was ended by signal {n}.").format(n=-code) if code < 0 else f"exit code {code}"
        return ApplianceError(
            _("Training process {n} ended without a word.").format(n=rank),
            why,
            _("Often the machine ran out of memory. It goes on from the last good state: appliance jobs resume ID"),
        )
