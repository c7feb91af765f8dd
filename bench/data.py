"""`appliance data check` against `datasets.load_dataset` on the same files, made here and deleted afterwards.

    bench/data.py [MEGABYTES] [json|csv]      (1000 of each: JSON lines with a million conversations, CSV with pairs)

Ours is the whole command, start included; theirs is the call alone, in the training environment. Of each the smaller of
two rounds, in turn. Memory is the most that the command's processes held together.

Before each way twice the file's bytes are written beside it and removed: a virtual machine gives memory that is free
back to its host, and taking it again costs more than filling it (see bench/transfer.py).
"""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from appliance import settings

MOST_RATIO, MOST_MB = 2.0, 500
ROUNDS = 2
_PEER = """
import sys, time, tempfile, datasets
datasets.disable_progress_bars()
with tempfile.TemporaryDirectory(dir=sys.argv[3]) as cache:
    begin = time.perf_counter()
    rows = datasets.load_dataset(sys.argv[1], data_files=sys.argv[2], split="train", cache_dir=cache)
    print(time.perf_counter() - begin, len(rows))
"""
_WORDS = "the of and to in is that it for you with on this as are be can have from your not or"
_WORDS += " by at an if will more what when which about how their order price"
_WORDS += " delivery return account system model answer question service please number"
_SIGNS = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动"
_SIGNS += "同工也能下过子说产种面而方后多定行学法所民得经"


def sentences(count: int) -> list[str]:
    """Texts of some 40 to 160 characters, a third of them Chinese."""
    made = []
    for number in range(count):
        if number % 3:
            made.append(" ".join(random.choices(_WORDS.split(), k=random.randint(8, 30))) + ". ")
        else:
            made.append("".join(random.choices(_SIGNS, k=random.randint(13, 50))) + "。")
    return made


def write_chats(file: Path, size: int, pool: list[str]) -> int:
    """Conversations of two to six turns, a kilobyte each, as JSON lines; how many."""
    rows = written = 0
    with file.open("w", encoding="utf-8") as opened:
        while written < size:
            turns = []
            for turn in range(random.choice((1, 1, 2, 2, 3))):
                turns.append({"role": "user", "content": f"{rows}-{turn}: " + "".join(random.choices(pool, k=2))})
                turns.append({"role": "assistant", "content": "".join(random.choices(pool, k=3))})
            line = json.dumps({"id": rows, "messages": turns}, ensure_ascii=False) + "\n"
            opened.write(line)
            written += len(line.encode())
            rows += 1
    return rows


def write_pairs(file: Path, size: int, pool: list[str]) -> int:
    """Questions and answers, a kilobyte a row, some with line ends and quotation marks in them, as CSV; how many."""
    rows = 0
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["question", "answer"])
        while opened.tell() < size:
            for _row in range(1000):
                answer = "".join(random.choices(pool, k=6))
                answer = f'"{answer}"\nand more' if rows % 5 == 0 else answer
                table.writerow([f"{rows}: " + "".join(random.choices(pool, k=2)), answer])
                rows += 1
    return rows


def theirs(kind: str, file: Path, place: Path) -> float:
    """Seconds."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(place / "hf")}
    command = [str(settings.python_of("train")), "-c", _PEER, kind, str(file), str(place)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def ours(file: Path, rows: int) -> tuple[float, float, float]:
    """(seconds, processor seconds, megabytes)."""
    # What is installed has been compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin, before = time.perf_counter(), _computed()
    process = subprocess.Popen(
        [sys.executable, "-m", "appliance", "data", "check", str(file), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    whole, held, ended = psutil.Process(process.pid), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):  # looking through all processes takes one of the cores for a while
            held.append(_held(whole))

    watching = threading.Thread(target=watch)
    watching.start()
    report = json.loads(process.communicate()[0])
    seconds = time.perf_counter() - begin
    ended.set()
    watching.join()
    accounted = report["kept"] + sum(item["count"] for item in report["dropped"])
    assert report["rows"] == rows == accounted, report
    return seconds, _computed() - before, max(held) / 1e6


def _computed() -> float:
    """Processor seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _held(process: psutil.Process) -> int:
    total = 0
    for one in (process, *_children(process)):
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def warm(place: Path, size: int) -> None:
    """Take memory for so many bytes, and give it back."""
    block = bytes(10**6)
    with (place / "warm").open("wb", buffering=0) as file:
        for _start in range(0, size, len(block)):
            file.write(block)
    (place / "warm").unlink()
    os.sync()


def main() -> int:
    """Make, measure, print; 1 where a target is missed."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 1000) * 10**6
    random.seed(7)
    pool = sentences(4000)
    missed = False
    makers: dict[str, Callable[[Path, int, list[str]], int]] = {"json": write_chats, "csv": write_pairs}
    for kind in sys.argv[2:] or makers:
        make = makers[kind]
        with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
            file = Path(folder) / ("rows.jsonl" if kind == "json" else "rows.csv")
            rows = make(file, size, pool)
            peers: list[float] = []
            taken: list[tuple[float, float, float]] = []
            for _round in range(ROUNDS):
                warm(Path(folder), 2 * size)
                peers.append(theirs(kind, file, Path(folder)))
                warm(Path(folder), 2 * size)
                taken.append(ours(file, rows))
            seconds, computed, _memory = min(taken)
            megabytes = max(memory for _seconds, _computed, memory in taken)
            ratio = seconds / min(peers)
            missed |= ratio > MOST_RATIO or megabytes > MOST_MB
            print(
                f"{file.name}: {file.stat().st_size / 1e6:.0f} MB, {rows} rows; load_dataset {min(peers):.1f} s, "
                f"data check {seconds:.1f} s ({computed:.1f} s of processors): {ratio:.2f} x (at most {MOST_RATIO}); "
                f"{megabytes:.0f} MB (at most {MOST_MB})"
            )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
