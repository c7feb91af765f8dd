"""Our worker against TRL's SFTTrainer: the same model, rows and settings, in one run.

    bench/training.py            both of: overhead, mixed
    bench/training.py overhead   the same options, rows of one length: tokens/s, at least 0.99 of the bare trainer's
    bench/training.py mixed      its own options, chats of many lengths: useful tokens/s, at least 1.5 times as many, at
                                 the same loss on rows held out (within 2 %)

Timed is the training alone, checkpoints included, from the first step to the last, in rounds by turns; both go over
the same rows as often, and the loss is on rows held out. SFTTrainer's own options turn bfloat16 on, which most
processors are slow in: it gets float32, as our worker does. Its checkpointing of layers is one of its own options;
without it stands beside.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.jobs import control, prepare

PEER = Path(__file__).with_name("training_peer.py")
LEAST_OVERHEAD, LEAST_MIXED, SAME_LOSS = 0.99, 1.5, 0.02
ROUNDS = {"overhead": 5, "mixed": 3}
WORDS = (
    "river",
    "bridge",
    "under",
    "heron",
    "grey",
    "waits",
    "for",
    "fish",
    "nobody",
    "counts",
    "the",
    "slow",
    "hours",
)


def write_rows(file: Path, count: int, seed: int, mixed: bool) -> Path:
    """Chats whose answers repeat the question's words: something to learn. Lengths as in real sets: a long tail."""
    chance = random.Random(seed)
    rows = []
    for _row in range(count):
        size = min(90, max(2, int(chance.lognormvariate(2.3, 1.0)))) if mixed else 20
        words = [chance.choice(WORDS) for _word in range(size)]
        if not mixed:  # of one length in letters, so in tokens
            words = [word[:3].ljust(3, "x") for word in words]
        turns = [{"role": "user", "content": " ".join(words[: max(1, size // 3)])}]
        rows.append({"messages": [*turns, {"role": "assistant", "content": " ".join(words)}]})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


class Sides:
    """Both sides' process, asked one thing after the other."""

    def __init__(self, log: Path):
        variables = {**settings.child_environment(), **_threads(), "HF_HUB_OFFLINE": "1"}
        self._log = log
        with log.open("wb") as words:
            self._process = subprocess.Popen(
                [settings.python_of("train"), PEER], env=variables, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words,
            )  # fmt: skip

    def __call__(self, *words: object) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([word if isinstance(word, bool) else str(word) for word in words]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(self._log.read_text()[-3000:])
        return dict(json.loads(line))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def ours(sides: Sides, base: Path, rows: Path, seed: int = 42, **wish: Any) -> dict[str, Any]:
    """A whole fine-tune as a job: {seconds, busy, adapter, job}."""
    draft = prepare.finetune(str(base), str(rows), held_out=0.0, wish=wish, seed=seed)
    draft.spec.update(save_steps=10_000)
    found: dict[str, Any] = {}
    control._spawn = lambda job, *_more: found.update(sides("ours", job.folder))
    job = control.submit(draft)
    if not job.result:
        raise SystemExit(job.log.read_text()[-3000:])
    return {**found, "adapter": job.result["adapter"], "job": job.folder}


def _threads() -> dict[str, str]:
    return {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}


def told(name: str, mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """Say both sides' times; the median over the rounds of theirs / ours, by the clock."""
    ratios = {
        what: statistics.median(their[what] / our[what] for our, their in zip(mine, theirs, strict=True))
        for what in ("seconds", "busy")
    }
    times = [" ".join(f"{one['seconds']:.2f}" for one in side) for side in (mine, theirs)]
    print(
        f"{name}  {ratios['seconds']:.3f} x its tokens/s ({ratios['busy']:.3f} by processor seconds)\n"
        f"  ours {times[0]} s   theirs {times[1]} s",
        flush=True,
    )
    return ratios["seconds"]


def overhead(sides: Sides, base: Path, place: Path) -> bool:
    """The same options: what events, checks and staged checkpoints cost."""
    rows = write_rows(place / "even.jsonl", 120, 1, mixed=False)
    wish = {"batch": 4, "epochs": 2, "rank": 8, "learning_rate": 1e-3, "padding_free": False}
    mine, bare = [], []
    for number in range(ROUNDS["overhead"]):
        # The first needs our job for its rows and plan; then each side goes first every other time.
        if number % 2:
            bare.append(sides("same", base, mine[-1]["job"], place / f"bare-{number}"))
        mine.append(ours(sides, base, rows, **wish))
        if not number % 2:
            bare.append(sides("same", base, mine[-1]["job"], place / f"bare-{number}"))
    return told("same options", mine, bare) >= LEAST_OVERHEAD


def mixed(sides: Sides, base: Path, place: Path) -> bool:
    """Chats of many lengths against the trainer as it comes."""
    rows = write_rows(place / "mixed.jsonl", 160, 2, mixed=True)
    held = write_rows(place / "held.jsonl", 40, 3, mixed=True)
    mine, stock, lighter = [], [], []
    for number in range(ROUNDS["mixed"]):
        # A seed for each round: what is learned in so few steps hangs on which rows come when.
        mine.append(ours(sides, base, rows, number, batch=4, epochs=2, rank=8, learning_rate=4e-3))
        stock.append(sides("stock", base, mine[-1]["job"], place / f"stock-{number}", number, True))
        lighter.append(sides("stock", base, mine[-1]["job"], place / f"lighter-{number}", number, False))
    ratio = told("stock options", mine, stock)
    told("  without its checkpointing", mine, lighter)
    found = sides("loss", base, held, *(one["adapter"] for one in (*mine, *stock)))
    losses = [[found[one["adapter"]] for one in side] for side in (mine, stock)]
    loss, theirs = map(statistics.mean, losses)
    each = ["/".join(f"{one:.3f}" for one in side) for side in losses]
    print(f"  held-out loss   ours {loss:.4f} ({each[0]})  stock {theirs:.4f} ({each[1]})  (before {found['']:.4f})")
    return ratio >= LEAST_MIXED and loss <= theirs * (1 + SAME_LOSS)


def main(wanted: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
        place = Path(folder)
        os.environ["APPLIANCE_HOME"] = str(place / "home")
        sides = Sides(place / "sides.log")
        good = True
        try:
            sides("make", place / "base")
            for name, measure in (("overhead", overhead), ("mixed", mixed)):
                if not wanted or name in wanted:
                    good = measure(sides, place / "base", place) and good
        finally:
            sides.end()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
