"""AMD GPUs from what the amdgpu driver writes into /sys: seen and named; this image's PyTorch can't compute on them."""

from __future__ import annotations

from pathlib import Path

from appliance.hardware.cpu import GIB
from appliance.hardware.types import Accelerator, Holder, nominal_gb
from appliance.locale import _

VENDOR = "0x1002"
# PCI device ids (pci.ids) of the cards that people train on; the driver itself knows most of them by code names only.
_NAMES = {
    0x66A1: "Instinct MI50/MI60", 0x738C: "Instinct MI100", 0x7408: "Instinct MI250X", 0x740C: "Instinct MI250X/MI250",
    0x740F: "Instinct MI210", 0x74A0: "Instinct MI300A", 0x74A1: "Instinct MI300X", 0x74A2: "Instinct MI308X",
    0x74A5: "Instinct MI325X", 0x75A0: "Instinct MI350X", 0x75A3: "Instinct MI355X", 0x73BF: "Radeon RX 6800/6900 XT",
    0x744C: "Radeon RX 7900 XT/XTX", 0x7448: "Radeon PRO W7900", 0x7550: "Radeon RX 9070/9070 XT",
}  # fmt: skip


def read(root: Path) -> list[Accelerator]:
    """A card for each that the driver runs, in the order of their PCI addresses; its gfx version is in the name."""
    places = {place.resolve() for place in (root / "sys/class/drm").glob("card*/device")}
    devices = sorted(place for place in places if _text(place / "vendor").lower() == VENDOR)
    nodes = _nodes(root)
    cards: list[Accelerator] = []
    for device in devices:
        total = _number(device / "mem_info_vram_total")
        if total is None:  # another driver (radeon), or none of its files
            continue
        used = _number(device / "mem_info_vram_used") or 0
        node = nodes.get(device.name, {})
        gfx = _gfx(node.get("gfx_target_version", 0))
        cards.append(
            Accelerator(
                kind="rocm",
                name=_name(device) + (f" ({gfx})" if gfx else ""),
                index=len(cards),
                memory_gib=round(total / GIB, 2),
                nominal_gb=nominal_gb(total / GIB),
                free_gib=round(max(0, total - used) / GIB, 2),
                compute_capability=None,
                # CDNA from the MI100 (gfx908) up and RDNA from 3 (gfx11) up have bf16 matrix instructions.
                bf16=node.get("gfx_target_version", 0) >= 110000 or 90008 <= node.get("gfx_target_version", 0) < 100000,
                holders=_holders(root, node.get("gpu_id", 0)),
                uuid=f"GPU-{node['unique_id']:016x}" if node.get("unique_id") else None,
            )
        )
    return cards


def sentence(card: Accelerator) -> str:
    """What can and can't be done with it here."""
    return _(
        "{name} was seen, but training and serving can't use it yet: PyTorch in here is built for NVIDIA and "
        "processors, so the processor is used. Downloading, checking data, planning and merging need no GPU."
    ).format(name=card.name)


def _name(device: Path) -> str:
    known = _NAMES.get(_hexadecimal(device / "device"))
    return "AMD " + (_text(device / "product_name").removeprefix("AMD ") or known or "GPU")


def _nodes(root: Path) -> dict[str, dict[str, int]]:
    """What the compute driver (KFD) says, by PCI address as sysfs writes it ("0000:c1:00.0")."""
    found = {}
    for folder in (root / "sys/class/kfd/kfd/topology/nodes").glob("*"):
        pairs = [line.split() for line in _text(folder / "properties").splitlines()]
        values = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
        if not values.get("simd_count"):  # a processor is a node too
            continue
        location = values.get("location_id", 0)
        address = f"{values.get('domain', 0):04x}:{location >> 8 & 255:02x}:{location >> 3 & 31:02x}.{location & 7}"
        found[address] = {**values, "gpu_id": _number(folder / "gpu_id") or 0}
    return found


def _gfx(version: int) -> str:
    """90010 is gfx90a: major, minor and stepping, the last two in hexadecimal."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}" if version else ""


def _holders(root: Path, gpu: int) -> list[Holder]:
    holders = []
    for file in (root / "sys/class/kfd/kfd/proc").glob(f"*/vram_{gpu}"):
        held, pid = _number(file), file.parent.name
        if held and pid.isdigit():
            name = _text(root / f"proc/{pid}/comm") or None
            holders.append(Holder(int(pid), name, round(held / GIB, 2)))
    return sorted(holders, key=lambda holder: holder.pid)


def _hexadecimal(path: Path) -> int:
    try:
        return int(_text(path), 16)
    except ValueError:
        return 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
