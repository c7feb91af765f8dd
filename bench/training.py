"""Our worker against TRL's SFTTrainer: the same model, rows and settings, in one run.

    bench/training.py            both of: overhead, mixed
    bench/training.py overhead   the same options, rows of one length: tokens/s, at least 0.99 of the bare trainer's
    bench/training.py mixed      its own options, chats of many lengths: useful tokens/s, at least 1.5 times as many, at
                                 the same loss on rows held out (within 2 %)

Timed is the training alone, checkpoints included, from the first step to the last; with the loss on rows held out both
go over the same rows as often. SFTTrainer's own options turn bfloat16 on, which most processors are slow in: it gets
float32, as our worker does. Its checkpointing of layers is one of its own options; without it stands beside.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.jobs import control, prepare
from appliance.jobs.folder import follow

PEER = Path(__file__).with_name("training_peer.py")
LEAST_OVERHEAD, LEAST_MIXED, SAME_LOSS = 0.99, 1.5, 0.02
ROUNDS = 2
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


def peer(*words: object) -> list[dict[str, Any]]:
    """What training_peer.py prints, one JSON object a line."""
    variables = {**settings.child_environment(), **_threads(), "HF_HUB_OFFLINE": "1"}
    command = [settings.python_of("train"), PEER, *map(str, words)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def ours(base: Path, rows: Path, **wish: Any) -> dict[str, Any]:
    """A whole fine-tune as a job: {seconds, tokens, folder of the adapter}."""
    draft = prepare.finetune(str(base), str(rows), held_out=0.0, wish=wish)
    draft.spec.update(save_steps=10_000)
    job = control.submit(draft)
    for _state, _events in follow(job, interval=0.1):
        pass
    if not job.result:
        raise SystemExit(job.log.read_text()[-3000:])
    return {"seconds": job.result["train_seconds"], "adapter": job.result["adapter"], "job": job.folder}


def _threads() -> dict[str, str]:
    return {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}


def overhead(base: Path, place: Path) -> bool:
    """The same options: what events, checks and staged checkpoints cost."""
    rows = write_rows(place / "even.jsonl", 120, 1, mixed=False)
    wish = {"batch": 4, "epochs": 2, "rank": 8, "learning_rate": 1e-3, "padding_free": False}
    our, bare = [], []
    for _round in range(ROUNDS):
        made = ours(base, rows, **wish)
        our.append(made["seconds"])
        bare += [one["seconds"] for one in peer("same", base, made["job"], place / "bare")]
    ratio = min(bare) / min(our)
    print(
        f"same options      ours {min(our):6.2f} s   bare {min(bare):6.2f} s   {ratio:.3f} x its tokens/s  {our} {bare}"
    )
    return ratio >= LEAST_OVERHEAD


def mixed(base: Path, place: Path) -> bool:
    """Chats of many lengths against the trainer as it comes."""
    rows = write_rows(place / "mixed.jsonl", 160, 2, mixed=True)
    held = write_rows(place / "held.jsonl", 40, 3, mixed=True)
    made = ours(base, rows, batch=4, epochs=2, rank=8, learning_rate=4e-3)
    stock, lighter = peer("stock", base, made["job"], place / "stock")
    found = peer("loss", base, held, made["adapter"], stock["adapter"])[0]
    loss, theirs = found[made["adapter"]], found[stock["adapter"]]
    ratio = stock["seconds"] / made["seconds"]
    print(
        f"stock options  ours {made['seconds']:6.2f} s  stock {stock['seconds']:6.2f} s  {ratio:.2f} x useful tokens/s"
    )
    print(f"  without checkpointing stock {lighter['seconds']:6.2f} s   {lighter['seconds'] / made['seconds']:.2f} x")
    print(f"  held-out loss   ours {loss:.4f}  stock {theirs:.4f}  (before {found['base']:.4f})")
    return ratio >= LEAST_MIXED and loss <= theirs * (1 + SAME_LOSS)


def main(wanted: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
        place = Path(folder)
        os.environ["APPLIANCE_HOME"] = str(place / "home")
        peer("make", place / "base")
        good = True
        for name, measure in (("overhead", overhead), ("mixed", mixed)):
            if not wanted or name in wanted:
                good = measure(place / "base", place) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
