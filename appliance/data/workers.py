"""Blocks of a large file parsed, converted and looked at by several processes, one for each core.

The first is a Python started anew, because the front has threads and can't be forked. The others are its forks, made
when it has imported what all of them need and before it has a thread. Each is told its work over a socket and answers
over it, both in pickles. It ends when its socket does, so none outlives the front, however that ends.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from appliance import settings
from appliance.errors import ApplianceError
from appliance.locale import _

if TYPE_CHECKING:
    from appliance.data.blocks import Block

LARGE = 16 << 20  # bytes of a file: from here on starting processes pays
# Processes: each takes some tens of megabytes, and reading the file from the disk is the limit sooner or later.
_MOST = 4
_LINES = {".csv", ".tsv", ".tab", ".jsonl", ".ndjson"}  # names of files that are most often read in blocks
_SECONDS = 0.2  # after which a worker is killed that has not ended by itself
_FORKS = sys.platform != "darwin"  # what a Mac's libraries have begun does not go on in a fork

# What a block needed is kept for the next one: handing memory back to the system each time costs a third of the time.
_KEEP = {f"MALLOC_{name}_": str(64 << 20) for name in ("MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD")}
_KEEP["OPENBLAS_NUM_THREADS"] = "1"

T = TypeVar("T")


def count() -> int:
    """How many processes are worth it here; 0 where the only core is this process's own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST) if cores > 1 else 0


def wanted(file: Path) -> int:
    """How many processes to start for a file that is read in blocks; 0 where it is quicker without."""
    return count() if file.stat().st_size > LARGE else 0


def ahead(file: Path) -> AbstractContextManager[Workers | None]:
    """The workers for a file of which nothing is known but its name: while they get ready it is looked at."""
    likely = Path(file.name.lower().removesuffix(".gz")).suffix in _LINES and file.is_file()
    return Workers(number) if likely and (number := wanted(file)) else nullcontext()


class Workers:
    """The processes, started when this is made: they take a while to get ready. Used once, with `with`."""

    def __init__(self, number: int):
        pairs = [socket.socketpair() for _number in range(number)]
        theirs = [end.fileno() for _ours, end in pairs]
        command = [str(settings.python_of("core")), "-c", "from appliance.data.workers import serve; serve()"]
        self._made = [
            subprocess.Popen(
                [*command, *map(str, some)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**settings.child_environment(), **_KEEP},
                pass_fds=some,
                process_group=0,
            )
            for some in ([theirs] if _FORKS else [[one] for one in theirs])
        ]
        for _ours, end in pairs:
            end.close()
        self._ours = [ours for ours, _end in pairs]
        self._lines = [ours.makefile("rwb") for ours in self._ours]
        self._threads = ThreadPoolExecutor(number)

    def given(self, do: Callable[[Block], T], plain: bool) -> Callable[[Block], Future[T]]:
        """A function that has `do` done elsewhere. `plain`: the workers read a block from the file by themselves."""
        idle: SimpleQueue[io.BufferedRWPair[Any, Any]] = SimpleQueue()
        work = pickle.dumps(do)

        def one(block: Block) -> T:
            line = idle.get()
            try:
                pickle.dump(replace(block, data=None) if plain else block, line)
                line.flush()
                good, value = pickle.load(line)  # noqa: S301  # our own process
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                raise _ended() from error
            finally:
                idle.put(line)
            if not good:
                raise value
            return value  # type: ignore[no-any-return]

        try:
            for line in self._lines:
                line.write(work)
                line.flush()
                idle.put(line)
        except OSError as error:
            raise _ended() from error
        return lambda block: self._threads.submit(one, block)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_error: object) -> None:
        """End them all, whatever they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for ours in self._ours:
            with suppress(OSError):  # it has ended already
                ours.shutdown(socket.SHUT_RDWR)
        for process in self._made:
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._threads.shutdown()
        for line, ours in zip(self._lines, self._ours, strict=True):
            with suppress(OSError):  # what could not be sent any more
                line.close()
            ours.close()


def _ended() -> ApplianceError:
    return ApplianceError(
        _("A helper that reads the file ended before its time."),
        _("Perhaps the memory was not enough."),
        _("Close other programs and try again."),
    )


def serve() -> None:
    """A worker for each of the sockets named on the command line."""
    gc.disable()  # rows hold no circles, and looking for some in each block costs a quarter of the time
    import pyarrow.compute  # noqa: F401

    import appliance.data.look  # noqa: F401  # what all of them need

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the front's business
    lines = [socket.socket(fileno=int(word)) for word in sys.argv[1:]]
    forks = []
    while len(lines) > 1:
        line = lines.pop()
        if forked := os.fork():
            forks.append(forked)
            line.close()
            continue
        for other in lines:
            other.close()
        lines, forks = [line], []
    with suppress(EOFError, OSError):
        _serve(lines[0])
    lines[0].close()
    for forked in forks:
        os.waitpid(forked, 0)
    os._exit(0)


def _serve(line: socket.socket) -> None:
    """What to do first, then block after block, until there are no more."""
    with line.makefile("rwb") as opened:
        do = pickle.load(opened)  # noqa: S301  # from the process that started this one
        while True:
            block = pickle.load(opened)  # noqa: S301
            try:
                answer = (True, do(block))
            except Exception as error:
                answer = (False, error)
            _send(opened, answer)


def _send(out: Any, answer: Any) -> None:
    try:
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        data = pickle.dumps((False, RuntimeError(f"{type(answer[1]).__name__}: {answer[1]} ({error})")))
    out.write(data)
    out.flush()
