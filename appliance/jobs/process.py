"""Processes recognised by pid AND start time, and ended by their group, never by name."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_mark(pid: int) -> str | None:
    """When the process started, as a text to compare; None when it is gone or a zombie.

    On Linux these are clock ticks since boot (field 22 of /proc/PID/stat), which a changed wall clock does not move,
    with the boot they count from: after a restart of the machine the same pid and ticks are another process.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        state, *fields = stat[stat.rindex(")") + 2 :].split()
        return None if state in "ZX" else f"ticks:{fields[18]}@{_boot()}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"time:{process.create_time():.2f}"
    except psutil.Error:
        return None


def alive(pid: int | None, mark: str | None) -> bool:
    """Whether this very process still runs, not another one that got its number."""
    return pid is not None and mark is not None and start_mark(pid) == mark


def group_members(group: int) -> list[int]:
    """Living processes of a process group."""
    import psutil

    members = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and start_mark(pid) is not None:
                members.append(pid)
        except (ProcessLookupError, PermissionError):
            continue
    return members


def end_group(leader: int, mark: str | None, grace: float = 5.0) -> bool:
    """End a whole process group: SIGTERM, then SIGKILL after `grace` seconds. True when nothing of it is left.

    The group's number is its leader's pid. When a process has that pid but another start time, the number was given
    away and the group is not ours: nothing is touched. A group whose leader died keeps its number to itself.
    """
    now = start_mark(leader)
    if now is not None and now != mark:
        return True
    for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(leader, sign)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        end = time.monotonic() + patience
        while group_members(leader):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        else:
            return True
    return not group_members(leader)
