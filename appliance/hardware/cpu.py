"""The processor and the memory that this process may use: affinity and cgroup limits, not the host's figures."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from appliance.hardware.types import Cpu

GIB = 2**30

# PyTorch's and oneDNN's AVX-512 kernels want these five at once (ATen/native/DispatchStub.cpp and oneDNN's
# "avx512_core"); AMX is tiles with at least one kind of arithmetic.
_FEATURES = {
    "avx2": {"avx2"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"},
    "avx512_vnni": {"avx512_vnni"},
    "avx512_bf16": {"avx512_bf16"},
    "amx": {"amx_tile", "amx_int8"},
    "amx_bf16": {"amx_tile", "amx_bf16"},
    "asimd": {"asimd"},
    "sve": {"sve"},
    "i8mm": {"i8mm"},
    "bf16": {"bf16"},
}


def read(root: Path) -> Cpu:
    """`root` is `/`, or a folder with another machine's /proc and /sys."""
    total, free = _memory(root)
    return Cpu(_model(root), _cores(root), round(total / GIB, 2), round(free / GIB, 2), _features(root))


def sysctl(name: str) -> str:
    """One value of macOS's sysctl; empty where there is none."""
    try:
        answer = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _model(root: Path) -> str:
    for line in _lines(root / "proc/cpuinfo"):
        key, _colon, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _features(root: Path) -> list[str]:
    """Of the flags, those that matter to matrices; the parts of AMX and of AVX-512 that always come together as one."""
    for line in _lines(root / "proc/cpuinfo"):
        key, _colon, value = line.partition(":")
        if key.strip() in ("flags", "Features"):  # x86, Arm
            flags = set(value.split())
            return [name for name, needed in _FEATURES.items() if needed <= flags]
    return []


def _cores(root: Path) -> int:
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    for folder in _cgroup_folders(root, "cpu"):
        quota = (_lines(folder / "cpu.max") or [""])[0].split()  # v2: "150000 100000" or "max 100000"
        if not quota:  # v1
            quota = _lines(folder / "cpu.cfs_quota_us")[:1] + _lines(folder / "cpu.cfs_period_us")[:1]
        # A share of 1.5 cores counts as one: more threads than that only wait for each other.
        if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
            cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return max(1, cores)


def _memory(root: Path) -> tuple[int, int]:
    """Total and available bytes."""
    info = {}
    for line in _lines(root / "proc/meminfo"):
        key, _colon, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdigit():
            info[key] = int(number[0]) * 1024
    if "MemTotal" in info:
        total = info["MemTotal"]
        free = info.get("MemAvailable", info.get("MemFree", 0))
    else:
        import psutil

        memory = psutil.virtual_memory()
        total, free = memory.total, memory.available
    host = total
    for folder in _cgroup_folders(root, "memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        if limit is None or limit >= host:  # v1 writes a huge number for "no limit"
            continue
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes") or 0
        # The page cache is in `used`, but the kernel gives it back when memory is wanted.
        stat = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat") if " " in line)
        # v1 counts a group's own pages apart from those of the groups below it; `used` has both.
        cache = stat.get("total_inactive_file", stat.get("inactive_file", "0")).strip()
        # A group above may have room for less than this one's limit: its other groups use it too.
        free = min(free, max(0, limit - used + (int(cache) if cache.isdigit() else 0)))
        total = min(total, limit)
    return total, min(free, total)


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """This process's group and all above it, for cgroup v2 and v1; any of them may set the limit."""
    folders: list[Path] = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        mount = root / "sys/fs/cgroup"
        if controller in controllers.split(","):  # v1: a mount for each controller, or for those that go together
            mount = next((place for place in (mount / controller, mount / controllers) if place.exists()), mount)
        elif number != "0" or controllers:
            continue
        group = Path(path.lstrip("/"))
        # Inside a container the path may be the host's; then only the mount itself exists, and is this group.
        folders += [mount / part for part in (group, *group.parents) if ".." not in part.parts]
    return folders


def _number(*paths: Path) -> int | None:
    for path in paths:
        text = (_lines(path) or [""])[0].strip()
        if text.isdigit():
            return int(text)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
