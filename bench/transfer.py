"""Bringing a model here: our worker against curl, aria2, `hf download` and ModelScope's client, in one run.

    bench/transfer.py [--rounds N] [--folder DIR] [ROW …]

The rows: `one` and `eight` (20 MB/s a connection and 60 ms to the first byte; one file of 512 MB, eight of 256 MB), and
`free` (no limit, 2 GB). The server is on loopback, sends with sendfile and is not the limit. Every way ends with each
file's sha256 compared: those that do not check it themselves are checked afterwards with hashlib on both cores, in
their time; and every file is synced to its disk, which in memory takes no time. Everything, the files that are sent
too, lies in one folder, in memory where there is room (--folder: where else). Seconds of the clock from the start of
the process; the smallest of N rounds, the ways in turn, each round beginning with another one. A way that took more
than twice as long as the best is not repeated.

Before each way as many bytes as it brings are written and removed: a virtual machine gives memory that is free back
to its host, and taking it again costs more than filling it. Without this, a way's time hangs on how long before it
somebody else had needed the memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("APPLIANCE_ENVS") or ROOT / ".envs") / "core" / "bin"
MODEL = "bench/model"
MB = 1_000_000
LARGEST_MEMORY_GIB = 150 * MB / 2**30
FACTOR_TO_HF = 7.0


@dataclass(frozen=True)
class Row:
    """`sizes` in bytes; the server's limits in seconds and bytes a second (0: none)."""

    title: str
    sizes: tuple[int, ...]
    first_byte: float
    rate: int


ROWS = {
    "one": Row("20 MB/s each, 60 ms; 1 × 512 MB", (512 * MB,), 0.06, 20 * MB),
    "eight": Row("20 MB/s each, 60 ms; 8 × 256 MB", (256 * MB,) * 8, 0.06, 20 * MB),
    "free": Row("no limit; 1 × 2 GB", (2000 * MB,), 0.0, 0),
}


class Way:
    """One way of bringing the served model into `self.to`."""

    def __init__(self, served: dict[str, Any], place: Path):
        self.served, self.place = served, place
        self.to = place / "here"
        self.large = [name for name in served["sha256"] if name.endswith(".safetensors")]
        self.environment = {
            **os.environ,
            "HF_ENDPOINT": served["hub"],
            "MODELSCOPE_ENDPOINT": served["hub"],
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HOME": str(place / "user"),
            "APPLIANCE_HOME": str(place / "home"),
            "PYTHONPATH": str(ROOT),
        }
        for name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
            self.environment.pop(name, None)
        self.memory_gib = 0.0

    def run(self, *words: str | Path, **more: str) -> None:
        """A command; its output is shown only when it fails."""
        done = subprocess.run(
            [str(word) for word in words],
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise RuntimeError(done.stdout.decode(errors="replace")[-2000:])

    def ours(self) -> None:
        """The download job's worker, as a person starts it."""
        job = self.place / "job"
        job.mkdir()
        spec = {"reference": MODEL, "source": "huggingface", "revision": None, "to": str(self.to)}
        (job / "job.json").write_text(json.dumps({"id": "bench", "kind": "download", "language": "en", "spec": spec}))
        (job / "state.json").write_text('{"state": "queued"}')
        self.run(BIN / "python", "-P", "-m", "appliance.work", job)
        self.memory_gib = json.loads((job / "result.json").read_text())["host_memory_peak_gib"]

    def curl(self) -> None:
        """As many transfers as files."""
        files = [
            word for name in self.large for word in (f"{self.served['cdn']}/{name}?signed=1", "-o", self.to / name)
        ]
        self.run("curl", "-sS", "--fail", "--parallel", "--parallel-max", "16", "--create-dirs", *files)
        self.check()

    def aria2(self) -> None:
        """16 connections to each file, 8 files at once, with its own check of sha256."""
        lines = [
            f"{self.served['cdn']}/{name}?signed=1\n out={name}\n checksum=sha-256={self.served['sha256'][name]}\n"
            for name in self.large
        ]
        (self.place / "list").write_text("".join(lines))
        words = ("-q", "-x16", "-s16", "-j8", "-k1M", "--file-allocation=falloc", "-d", self.to)
        self.run("aria2c", *words, "-i", self.place / "list")

    def hf(self) -> None:
        """`hf download`."""
        self.run(BIN / "hf", "download", MODEL, "--local-dir", self.to)
        self.check()

    def modelscope(self) -> None:
        """ModelScope's client as it comes: it checks sha256 itself."""
        self.run(BIN / "modelscope", "download", "--model", MODEL, "--local_dir", self.to)

    def modelscope_parts(self) -> None:
        """The same with 16 parts at once."""
        self.run(
            BIN / "modelscope", "download", "--model", MODEL, "--local_dir", self.to, "--max-workers", "8",
            MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS="16", MODELSCOPE_DOWNLOAD_PARALLEL_THRESHOLD_MB="16",
            MODELSCOPE_DOWNLOAD_PART_SIZE_MB="16",
        )  # fmt: skip

    def sync(self) -> None:
        """Make the large files durable: ours has done so before it ends."""
        for name in self.large:
            handle = os.open(self.to / name, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)

    def check(self) -> None:
        """Compare sha256 of every large file."""
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda name: sha256(self.to / name), self.large)
        for name, value in zip(self.large, found, strict=True):
            if value != self.served["sha256"][name]:
                raise RuntimeError(f"{name} is damaged")


WAYS: dict[str, Callable[[Way], None]] = {
    "ours": Way.ours,
    "curl": Way.curl,
    "aria2, 16 connections": Way.aria2,
    "hf download": Way.hf,
    "ModelScope": Way.modelscope,
    "ModelScope, 16 parts": Way.modelscope_parts,
}


def sha256(path: Path) -> str:
    """In hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_model(folder: Path, sizes: tuple[int, ...]) -> None:
    """Random bytes in safetensors files, and what a model has besides."""
    noise = os.urandom(64 * 1024 * 1024)
    for number, size in enumerate(sizes):
        name = "model.safetensors" if len(sizes) == 1 else f"model-{number + 1:05}-of-{len(sizes):05}.safetensors"
        header = json.dumps({f"t{number}": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for start in range(0, size, len(noise)):
                file.write(noise[: size - start])
    if len(sizes) > 1:
        names = sorted(path.name for path in folder.iterdir())
        index = {"weight_map": {f"t{number}": name for number, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}')
    (folder / "tokenizer.json").write_text("{}")


def warm(place: Path, size: int) -> None:
    """Take memory (or room on the disk) for so many bytes, and give it back."""
    block = bytes(MB)
    with (place / "warm").open("wb", buffering=0) as file:
        for _start in range(0, size, len(block)):
            file.write(block)
    (place / "warm").unlink()
    os.sync()


def measure(row: Row, place: Path, rounds: int) -> tuple[dict[str, float], float]:
    """Way to seconds, and the largest memory of our worker in GiB."""
    model = place / "model"
    model.mkdir()
    make_model(model, row.sizes)
    words = [sys.executable, str(ROOT / "bench" / "fast_hub.py"), str(model), str(row.first_byte), str(row.rate)]
    taken: dict[str, list[float]] = {}
    memory = 0.0
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            served = json.loads(server.stdout.readline())
            for number in range(rounds):
                names = [*WAYS][number:] + [*WAYS][:number]
                best = min((min(values) for values in taken.values()), default=0.0)
                for name in names:
                    if name.startswith("aria2") and not shutil.which("aria2c"):
                        continue
                    if number and min(taken[name]) > 2 * best:
                        continue
                    warm(place, sum(row.sizes))
                    with tempfile.TemporaryDirectory(dir=place) as folder:
                        way = Way(served, Path(folder))
                        began = time.monotonic()
                        WAYS[name](way)
                        way.sync()
                        taken.setdefault(name, []).append(time.monotonic() - began)
                        memory = max(memory, way.memory_gib)
        finally:
            server.kill()
    shutil.rmtree(model)
    return {name: min(values) for name, values in taken.items()}, memory


def main() -> int:
    """Print a table for each row; exit 1 when we are slower than the best, or need too much memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW")
    asked = parser.parse_args()
    memory_disk = Path("/dev/shm")
    roomy = memory_disk.is_dir() and shutil.disk_usage(memory_disk).free > 6e9
    base = asked.folder or (memory_disk if roomy else Path(tempfile.gettempdir()))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, files in {base}; smallest of {asked.rounds} rounds")
    if not shutil.which("aria2c"):
        print("aria2c is not installed: left out")
    well = True
    for key in asked.rows or ROWS:
        with tempfile.TemporaryDirectory(dir=base, prefix="bench-") as folder:
            seconds, memory = measure(ROWS[key], Path(folder), asked.rounds)
        total, ours = sum(ROWS[key].sizes), seconds["ours"]
        print(f"\n{ROWS[key].title}")
        for name, value in seconds.items():
            print(f"  {name:<22} {value:7.2f} s {total / value / MB:7.0f} MB/s   other / ours {value / ours:5.2f}")
        best = min(value for name, value in seconds.items() if name != "ours")
        print(
            f"  against the best of them: {best / ours:.2f} (at least 1.00); worker memory {memory * 2**30 / MB:.0f} MB"
        )
        well &= best >= ours and memory <= LARGEST_MEMORY_GIB
        if key == "one":
            well &= seconds["hf download"] >= FACTOR_TO_HF * ours
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
