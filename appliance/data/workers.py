"""Blocks of a large file parsed, converted and looked at by several processes, one for each core.

Each is `python -m appliance.data.workers`: started anew rather than forked (the front has threads, and a Mac does not
fork well), told its work over its input and answering over its output, both in pickles. It ends when its input does,
so none outlives the front, however that ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, TypeVar

from appliance import settings
from appliance.data.blocks import Block
from appliance.errors import ApplianceError
from appliance.locale import _

_MOST = (
    4  # processes: each takes some tens of megabytes, and reading the file from the disk is the limit sooner or later
)

# What a block needed is kept for the next one: handing memory back to the system each time costs a third of the time.
_KEEP = {f"MALLOC_{name}_": str(64 << 20) for name in ("MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD")}
_KEEP["OPENBLAS_NUM_THREADS"] = "1"

T = TypeVar("T")


def count() -> int:
    """How many processes are worth it here; 0 where the only core is this process's own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST) if cores > 1 else 0


@contextmanager
def started(do: Callable[[Block], T], number: int, plain: bool) -> Iterator[Callable[[Block], Future[T]]]:
    """A function that has `do` done elsewhere. `plain`: the workers read a block from the file by themselves."""
    command = [str(settings.python_of("core")), "-m", "appliance.data.workers"]
    environment = {**settings.child_environment(), **_KEEP}
    made = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        for _number in range(number)
    ]
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    work = pickle.dumps(do)

    def one(block: Block) -> T:
        process = idle.get()
        try:
            assert process.stdin and process.stdout
            pickle.dump(replace(block, data=None) if plain else block, process.stdin)
            process.stdin.flush()
            good, value = pickle.load(process.stdout)  # noqa: S301  # our own process
        except (EOFError, BrokenPipeError) as error:
            raise ApplianceError(
                _("A helper that reads the file ended before its time."),
                _("Perhaps the memory was not enough."),
                _("Close other programs and try again."),
            ) from error
        finally:
            idle.put(process)
        if not good:
            raise value
        return value  # type: ignore[no-any-return]

    threads = ThreadPoolExecutor(number)
    try:
        for process in made:
            assert process.stdin
            process.stdin.write(work)
            process.stdin.flush()
            idle.put(process)
        yield lambda block: threads.submit(one, block)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for process in made:
            process.kill()
        for process in made:
            process.communicate()
        threads.shutdown()


def serve() -> None:
    """A worker: what to do once, then block after block, until there are no more."""
    gc.disable()  # rows hold no circles, and looking for some in each block costs a quarter of the time
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the front's business
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    try:
        do = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
        while True:
            block = pickle.load(sys.stdin.buffer)  # noqa: S301
            try:
                answer = (True, do(block))
            except Exception as error:
                answer = (False, error)
            _send(out, answer)
    except (EOFError, BrokenPipeError):
        os._exit(0)


def _send(out: Any, answer: Any) -> None:
    try:
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        data = pickle.dumps((False, RuntimeError(f"{type(answer[1]).__name__}: {answer[1]} ({error})")))
    out.write(data)
    out.flush()


if __name__ == "__main__":
    serve()
