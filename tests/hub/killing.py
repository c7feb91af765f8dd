"""Work in a process of its own that SIGKILL ends at a chosen moment."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

_CHANGES = ("open", "pwrite", "ftruncate", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir")


def killed(work: Callable[[], Any]) -> bool:
    """Do it in a forked process. True when that was killed, False when it came to its end; a failure of it fails."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    _child, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed_before_change(number: int, work: Callable[[], Any]) -> bool:
    """`killed`, before the number-th call that changes something on the disk."""

    def dying() -> None:
        left = number
        for name in _CHANGES:
            real = getattr(os, name)

            def call(*words: Any, real: Any = real, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*words, **options)

            setattr(os, name, call)
        work()

    return killed(dying)
