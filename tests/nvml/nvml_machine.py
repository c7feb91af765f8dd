"""The probe in a process of its own, on a machine that is none: real pynvml, stub NVML, made-up /proc, /sys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_SCRIPT = """
import json, sys, time
from pathlib import Path
from appliance.hardware import probe
from appliance.hardware.doctor import check_driver
start = time.process_time()
hardware = probe(root=Path(sys.argv[1]))
spent = time.process_time() - start
check = check_driver(hardware)
heavy = [name for name in ("torch", "numpy", "pydantic", "psutil", "transformers") if name in sys.modules]
print(json.dumps({"probe": hardware.as_dict(), "cuda": hardware.cuda, "seconds": spent, "heavy": heavy,
                  "check": [check.ok, check.sentence, check.fix]}))
"""


def compile_stub(folder: Path) -> Path:
    """Build libnvidia-ml.so.1 into the folder."""
    compiler = os.environ.get("CC", "cc")
    source = HERE / "nvml_stub.c"
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-o", library, source], check=True)
    return folder


def make_root(
    root: Path,
    *,
    vendors: tuple[str, ...] = (),
    driver: bool = False,
    devices: tuple[str, ...] = (),
    container: bool = False,
) -> Path:
    """A made-up / with display cards of these vendors, and whether a driver is loaded."""
    for folder in ("proc/self", "sys/bus/pci/devices", "dev/shm"):
        (root / folder).mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n")
    (root / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Made-up CPU\n")
    (root / "proc/self/cgroup").write_text("0::/\n")
    network = root / "sys/bus/pci/devices/0000:00:01.0"
    network.mkdir()
    (network / "class").write_text("0x020000\n")
    (network / "vendor").write_text("0x10de\n")
    for i, vendor in enumerate(vendors):
        device = root / f"sys/bus/pci/devices/0000:0{i}:00.0"
        device.mkdir()
        (device / "class").write_text("0x030200\n")
        (device / "vendor").write_text(vendor + "\n")
    if driver:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text("NVRM version\n")
    for name in devices:
        (root / "dev" / name).touch()
    if container:
        (root / ".dockerenv").touch()
    return root


def probe(root: Path, library: Path | None = None, machine: str = "", **variables: str) -> dict[str, Any]:
    """What `probe()` says there; `machine` is the stub's description, `library` the folder where the stub is."""
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")}
    environment |= {"APPLIANCE_HOME": str(root / "workspace"), "APPLIANCE_LANG": "en", "LC_ALL": "C", **variables}
    environment.pop("APPLIANCE_CONTAINER", None)
    if library:
        description = root / "machine.txt"
        description.write_text(machine)
        environment |= {"LD_LIBRARY_PATH": str(library), "NVML_STUB": str(description)}
    repository = str(HERE.parent.parent)
    environment["PYTHONPATH"] = repository
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(root)], env=environment, capture_output=True, text=True, cwd=repository
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
