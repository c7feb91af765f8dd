"""AMD GPUs and Ascend NPUs: seen and named, with what they can't do here; made-up /sys trees, a made-up tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import Accelerator, Hardware, amd, ascend, probe
from appliance.planning.card import best_card
from appliance.planning.headline import headline

GIB = 2**30

NPU_SMI = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 23.0.rc2                 Version: 23.0.rc2                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.6        40                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          64353/ 65536         |
+===========================+===============+====================================================+
| 1     910B3               | Alarm         | 91.1        41                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          3352 / 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 4242424       | python3                  | 61000                   |
+===========================+===============+====================================================+
| No running processes found in NPU 1                                                            |
+===========================+===============+====================================================+
"""
NPU_SMI_310P = """\
| NPU   Name                | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip  Device              | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===========================+=================+======================================================+
| 8     310P3               | OK              | NA           53                0     / 0             |
| 0     0                   | 0000:02:00.0    | 0            1702 / 21527                            |
+---------------------------+-----------------+------------------------------------------------------+
| 8     310P3               | OK              | NA           52                0     / 0             |
| 1     1                   | 0000:02:00.0    | 0            1552 / 21527                            |
"""


def _write(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def _amd_card(root: Path, number: int, address: str, device: str, vram: int, used: int) -> None:
    pci = _write(
        root / "sys/bus/pci/devices" / address,
        {
            "class": "0x038000", "vendor": "0x1002", "device": device,
            "mem_info_vram_total": vram, "mem_info_vram_used": used,
        },
    )  # fmt: skip
    place = root / f"sys/class/drm/card{number}"
    place.mkdir(parents=True)
    (place / "device").symlink_to(pci)
    (root / f"sys/class/drm/card{number}-DP-1").mkdir()  # an output of the card


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return _write(tmp_path / "root", {"proc/meminfo": "MemTotal: 33554432 kB\nMemAvailable: 16777216 kB", "dev/x": ""})


def test_amd_cards(root: Path) -> None:
    _amd_card(root, 1, "0000:c1:00.0", "0x74a1", 192 * GIB - GIB // 64, 2 * GIB)
    _amd_card(root, 0, "0000:03:00.0", "0x1234", 24 * GIB - GIB // 64, GIB // 4)
    nodes = "sys/class/kfd/kfd/topology/nodes"
    _write(
        root,
        {
            f"{nodes}/0/properties": "cpu_cores_count 32\nsimd_count 0",
            f"{nodes}/1/properties": f"simd_count 1216\ngfx_target_version 90402\nlocation_id {0xC1 << 8}\ndomain 0\n"
            "unique_id 12345",
            f"{nodes}/1/gpu_id": "51110",
            f"{nodes}/2/properties": f"simd_count 192\ngfx_target_version 110000\nlocation_id {3 << 8}\ndomain 0",
            f"{nodes}/2/gpu_id": "7",
            "sys/class/kfd/kfd/proc/4242424/vram_51110": GIB,
            "proc/4242424/comm": "python3",
        },
    )
    small, large = amd.read(root)
    assert (small.kind, small.name, small.index, small.nominal_gb) == ("rocm", "AMD GPU (gfx1100)", 0, 24)
    assert (large.name, large.index, large.nominal_gb) == ("AMD Instinct MI300X (gfx942)", 1, 192)
    assert large.free_gib == pytest.approx(190, abs=0.1)
    assert [(one.pid, one.name, one.memory_gib) for one in large.holders] == [(4242424, "python3", 1.0)]
    assert small.bf16 and large.bf16
    seen = probe(root=root)
    assert [card.kind for card in seen.accelerators] == ["rocm", "rocm"]
    assert len([text for text in seen.warnings if "processor is used" in text]) == 1
    assert Hardware.from_dict(seen.as_dict()).as_dict() == seen.as_dict()
    card, why = best_card(seen)
    assert card is None and "AMD" in why
    assert "AMD" in headline(seen)[0]


def test_amd_without_the_compute_driver_or_without_any(root: Path) -> None:
    _amd_card(root, 0, "0000:03:00.0", "0x744c", 24 * GIB, 0)
    assert [card.name for card in amd.read(root)] == ["AMD Radeon RX 7900 XT/XTX"]
    (root / "sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total").unlink()
    assert amd.read(root) == []
    assert "amdgpu" in probe(root=root).warnings[0]


def _tool(root: Path, script: str) -> None:
    tool = root / "usr/local/sbin/npu-smi"
    tool.parent.mkdir(parents=True, exist_ok=True)
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_ascend(root: Path) -> None:
    (root / "answer").write_text(NPU_SMI)
    _tool(root, f'[ "$1" = info ] && exec /bin/cat {root}/answer')
    seen = probe(root=root)
    full, free = seen.accelerators
    assert (full.kind, full.name, full.nominal_gb, full.memory_gib, full.bf16) == ("npu", "Ascend 910B3", 64, 64, True)
    assert (full.free_gib, free.free_gib) == (1.16, 60.73)
    assert [(one.pid, one.name, one.memory_gib) for one in full.holders] == [(4242424, "python3", 59.57)]
    assert free.holders == []
    assert "torch_npu" in seen.warnings[0]
    assert free.warnings and "Alarm" in free.warnings[0] and free.warnings[0] in seen.warnings
    assert best_card(seen)[0] is None


def test_two_chips_on_a_card_of_the_smaller_kind() -> None:
    chips = ascend.parse(NPU_SMI_310P)
    assert [(chip.name, chip.index, chip.memory_gib, chip.bf16) for chip in chips] == [
        ("Ascend 310P3", 0, 21.02, False),
        ("Ascend 310P3", 1, 21.02, False),
    ]


@pytest.mark.parametrize("script", ["exit 1", "exec /bin/sleep 30", "echo '| 0 x | OK |'; echo '| | 0000:C1:00.0 | |'"])
def test_a_tool_that_does_not_answer(root: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ascend, "_SECONDS", 0.2)
    (root / "dev/davinci0").touch()
    (root / "dev/davinci_manager").touch()
    _tool(root, script)
    assert ascend.read(root) == [Accelerator("npu", "Ascend NPU", 0, 0.0, 0, 0.0, None, False)]


def test_neither(root: Path) -> None:
    assert (amd.read(root), ascend.read(root), probe(root=root).warnings) == ([], [], [])
