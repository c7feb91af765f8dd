"""Huawei's Ascend NPUs from `npu-smi info`: seen and named; they need torch_npu, which this image does not have."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from appliance.hardware.types import Accelerator, Holder, nominal_gb
from appliance.locale import _

_SECONDS = 1.0
# Where the driver's installer puts it; not on everyone's PATH.
_PLACES = ("usr/local/sbin", "usr/local/bin", "usr/local/Ascend/driver/tools")
_DEVICE = re.compile(r"davinci(\d+)")
_BUS = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]")


def read(root: Path) -> list[Accelerator]:
    """A chip each. Without an answer of npu-smi within a second, the device files alone: no name, no memory."""
    devices = _devices(root)
    tool = _tool(root)
    chips = parse(_ask(tool)) if tool else []
    return chips or [_unnamed(number) for number in devices]


def sentence(card: Accelerator) -> str:
    """What can and can't be done with it here."""
    return _(
        "{name} was seen, but training and serving can't use it yet: that needs Huawei's torch_npu, which is not in "
        "here, so the processor is used. Downloading, checking data, planning and merging need no NPU."
    ).format(name=card.name)


def parse(answer: str) -> list[Accelerator]:
    """The table of `npu-smi info`: two lines a chip (name and health; bus and memory in MiB), then its processes."""
    chips: list[Accelerator] = []
    by_place: dict[tuple[str, str], Accelerator] = {}
    above: list[str] = []
    for line in answer.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        words = cells[0].split()
        if len(cells) == 3 and above and _BUS.fullmatch(cells[1]):
            card = _chip(len(chips), above, cells[2])
            chips.append(card)
            by_place[above[0].split()[0], words[0] if words else "0"] = card
        elif len(cells) >= 4 and len(words) == 2 and cells[1].isdigit() and (words[0], words[1]) in by_place:
            share = float(cells[3]) / 1024 if cells[3].isdigit() else None
            by_place[words[0], words[1]].holders.append(
                Holder(int(cells[1]), cells[2] or None, None if share is None else round(share, 2))
            )
        above = cells if len(cells) == 3 and len(words) >= 2 and words[0].isdigit() else []
    return chips


def _chip(index: int, above: list[str], memory: str) -> Accelerator:
    name = "Ascend " + above[0].split(maxsplit=1)[1]
    # "Memory-Usage" and on larger chips "HBM-Usage" behind it; the last with a size is what models lie in.
    pairs = [(int(used), int(total)) for used, total in re.findall(r"(\d+)\s*/\s*(\d+)", memory) if int(total)]
    used, total = pairs[-1] if pairs else (0, 0)
    card = Accelerator(
        kind="npu",
        name=name,
        index=index,
        memory_gib=round(total / 1024, 2),
        nominal_gb=nominal_gb(total / 1024) if total else 0,
        free_gib=round(max(0, total - used) / 1024, 2),
        compute_capability=None,
        bf16="910B" in name or "910C" in name or "910_93" in name,  # the first 910 and the 310s have float16 only
    )
    if above[1].lower() != "ok":
        card.warnings.append(
            _("NPU {index} ({name}) says that its health is {health}: npu-smi info -t health -i {index}").format(
                index=index, name=name, health=above[1]
            )
        )
    return card


def _unnamed(number: int) -> Accelerator:
    return Accelerator("npu", "Ascend NPU", number, 0.0, 0, 0.0, None, False)


def _devices(root: Path) -> list[int]:
    try:
        found = [_DEVICE.fullmatch(place.name) for place in (root / "dev").iterdir()]
    except OSError:
        return []
    return sorted(int(match.group(1)) for match in found if match)


def _tool(root: Path) -> str | None:
    return shutil.which("npu-smi") or shutil.which("npu-smi", path=":".join(str(root / place) for place in _PLACES))


def _ask(tool: str) -> str:
    try:
        done = subprocess.run([tool, "info"], capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
