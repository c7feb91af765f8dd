"""Tokens of a person's rows, counted by the model's own tokenizer where it is here: in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from appliance import settings
from appliance.data.rows import Row, contents
from appliance.planning.lengths import CHARACTERS, SAMPLE, Lengths

# So many of the longest rows are counted, and as many of all others, evenly: a second's work.
_EACH = 500
# Reading more rows once more takes too long for a plan.
_MOST_ROWS = 100_000
_SECONDS = 60


def lengths_of(rough: Sequence[int], rows: Iterable[Row], model: Path) -> Lengths:
    """The rows' lengths in tokens: counted; of most rows by a sample, where there are many; else the rough ones.

    rough  of each row, in the order of `rows`, from characters
    model  the folder with tokenizer.json
    """
    count = len(rough)
    longest = sorted(range(count), key=rough.__getitem__)[-_EACH:]
    spread = range(0, count, max(1, count // _EACH))
    wanted = sorted({*longest, *spread})
    python, tokenizer = settings.python_of("train"), model / "tokenizer.json"
    if not (0 < count <= _MOST_ROWS and tokenizer.is_file() and python.exists()):
        return Lengths.of(rough, CHARACTERS)
    chosen = set(wanted)
    lines = [json.dumps(list(contents(row))) for number, row in enumerate(rows) if number in chosen]
    try:
        done = subprocess.run(
            [python, "-P", "-m", "appliance.work.lengths", tokenizer],
            input="\n".join(lines),
            env=settings.child_environment(),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        counted = dict(zip(wanted, json.loads(done.stdout), strict=True))
    except (OSError, ValueError, subprocess.SubprocessError):  # a tokenizer that is none of this kind, a busy machine
        return Lengths.of(rough, CHARACTERS)
    ratio = sum(counted[number] for number in spread) / max(1, sum(rough[number] for number in spread))
    tokens = (counted.get(number) or math.ceil(ratio * guess) for number, guess in enumerate(rough))
    return Lengths.of(tokens, SAMPLE if len(wanted) < count else "")
