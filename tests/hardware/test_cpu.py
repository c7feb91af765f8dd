"""In a container the cgroup's limits count, not the host's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.hardware import apple, cpu

GIB = 2**30


def _root(folder: Path, group: str, files: dict[str, str]) -> Path:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: {64 * 2**20} kB\nMemAvailable: {60 * 2**20} kB\n")
    (folder / "proc/cpuinfo").write_text("model name\t: Made-up CPU\n")
    (folder / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_no_limits(tmp_path: Path) -> None:
    seen = cpu.read(_root(tmp_path, "0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"}))
    assert (seen.model, seen.memory_gib, seen.free_gib) == ("Made-up CPU", 64.0, 60.0)
    assert seen.cores == len(os.sched_getaffinity(0))


def test_cgroup_v2_counts_the_groups_above_and_gives_back_the_cache(tmp_path: Path) -> None:
    files = {
        "a/memory.max": f"{8 * GIB}\n",
        "a/memory.current": f"{5 * GIB}\n",
        "a/memory.stat": f"anon 1\ninactive_file {2 * GIB}\n",
        "a/b/memory.max": "max\n",
        "a/b/cpu.max": "150000 100000\n",
    }
    seen = cpu.read(_root(tmp_path, "0::/a/b\n", files))
    assert (seen.memory_gib, seen.free_gib, seen.cores) == (8.0, 5.0, 1)


def test_cgroup_v1_with_the_hosts_path(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{4 * GIB}\n",
        "memory/memory.usage_in_bytes": f"{1 * GIB}\n",
        "cpu/cpu.cfs_quota_us": "100000\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    seen = cpu.read(_root(tmp_path, "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n", files))
    assert (seen.memory_gib, seen.free_gib, seen.cores) == (4.0, 3.0, 1)


def test_a_group_above_that_its_others_have_filled(tmp_path: Path) -> None:
    """The limit is the inner group's, what is free the outer one's: of 16 GiB, 15 are taken, most by its neighbours."""
    files = {
        "pod/memory.max": f"{16 * GIB}\n",
        "pod/memory.current": f"{15 * GIB}\n",
        "pod/memory.stat": f"inactive_file {GIB // 2}\n",
        "pod/one/memory.max": f"{8 * GIB}\n",
        "pod/one/memory.current": f"{1 * GIB}\n",
        "pod/cpu.max": "100000 100000\n",
        "pod/one/cpu.max": "800000 100000\n",
    }
    seen = cpu.read(_root(tmp_path, "0::/pod/one\n", files))
    assert (seen.memory_gib, seen.free_gib, seen.cores) == (8.0, 1.5, 1)


def test_cgroup_v1_nested_in_mounts_that_go_together(tmp_path: Path) -> None:
    files = {
        "memory/pod/memory.limit_in_bytes": f"{6 * GIB}\n",
        "memory/pod/memory.usage_in_bytes": f"{5 * GIB}\n",
        # Its own pages, and those of the groups below as well: usage has both.
        "memory/pod/memory.stat": f"inactive_file 0\ntotal_inactive_file {2 * GIB}\n",
        "memory/pod/one/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu,cpuacct/pod/cpu.cfs_quota_us": "100000\n",
        "cpu,cpuacct/pod/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/pod/one/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/pod/one/cpu.cfs_period_us": "100000\n",
    }
    group = "4:memory:/pod/one\n3:cpu,cpuacct:/pod/one\n1:name=systemd:/pod/one\n0::/pod/one\n"
    seen = cpu.read(_root(tmp_path, group, files))
    assert (seen.memory_gib, seen.free_gib, seen.cores) == (6.0, 3.0, 1)


@pytest.mark.parametrize(
    ("line", "features"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512bw avx512dq avx512vl avx512cd avx512_bf16 amx_tile amx_bf16 amx_int8",
         ["avx2", "avx512", "avx512_bf16", "amx", "amx_bf16"]),
        ("flags\t\t: fpu avx2 avx512f avx512cd", ["avx2"]),  # Xeon Phi: not the ones that kernels use
        ("Features\t: fp asimd sve i8mm bf16", ["asimd", "sve", "i8mm", "bf16"]),
        ("model\t: 1", []),
    ],
)  # fmt: skip
def test_instructions(tmp_path: Path, line: str, features: list[str]) -> None:
    root = _root(tmp_path, "0::/\n", {})
    (root / "proc/cpuinfo").write_text(f"model name\t: Made-up CPU\n{line}\n")
    assert cpu.read(root).features == features


@pytest.mark.parametrize("limit", ["9223372036854771712\n", "-1\n", "", "rubbish\n"])
def test_no_limit_in_v1_or_nonsense(tmp_path: Path, limit: str) -> None:
    files = {"memory/memory.limit_in_bytes": limit, "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "0\n"}
    assert cpu.read(_root(tmp_path, "4:memory:/\n3:cpu:/\n", files)).memory_gib == 64.0


def test_a_path_that_leaves_the_mount_is_not_followed(tmp_path: Path) -> None:
    root = _root(tmp_path, "0::/../../elsewhere\n", {"memory.max": "max"})
    assert cpu.read(root).memory_gib == 64.0


def test_apple_chips() -> None:
    card = apple.describe("Apple M2 Pro", 16.0, 14.0, "14.5")
    assert (card.kind, card.nominal_gb, card.free_gib, card.bf16) == ("mps", 16, 12.0, True)
    assert not apple.describe("Apple M1", 8.0, 3.0, "13.6").bf16
    assert apple.describe("Apple M1", 8.0, 3.0, "13.6").free_gib == 3.0
