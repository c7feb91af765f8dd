"""Rows kept back from training, on which is measured whether a model learns or only remembers.

Which rows depends on what they say and on nothing else: the same rows give the same choice in any order, in any file,
on any machine. Rows that are nearly the same stand on the same side, so that none of them gives another's answer away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from appliance import files
from appliance.data import duplicates
from appliance.data.rows import Row
from appliance.data.texts import flat, written

SHARE = 0.05
FEWEST_ROWS = 200  # of a smaller file every row is needed to learn from
MOST = 200  # rows: measuring takes time, and more say little more
_BATCH = 1024


def held_out(rows: Iterable[Row], share: float = SHARE, most: int = MOST) -> list[int]:
    """The numbers (from 0) of the rows to keep back, rising; none of fewer than FEWEST_ROWS rows.

    About `share` of the rows, at most `most`, of which never more. A group of near-duplicates that is larger than what
    may be kept back stays in training as a whole. Some 100 bytes of memory a row.
    """
    digests: list[bytes] = []
    signed = []
    batch: list[str] = []
    for row in rows:
        digests.append(blake2b(flat(row).encode(errors="replace"), digest_size=8).digest())
        batch.append(written(row))
        if len(batch) == _BATCH:
            signed.append(duplicates.signatures(batch))
            batch = []
    signed.append(duplicates.signatures(batch))
    wanted = min(most, round(share * len(digests)))
    if len(digests) < FEWEST_ROWS or wanted < 1:
        return []
    # By content first, so that the order of the file changes nothing.
    order = sorted(range(len(digests)), key=lambda number: digests[number])
    groups = duplicates.near(np.concatenate(signed)[order])
    return _chosen(order, groups.tolist(), wanted)


def _chosen(order: Sequence[int], groups: Sequence[int], wanted: int) -> list[int]:
    """Whole groups in the order of their first digest, as long as they fit."""
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(order[place])
    chosen: list[int] = []
    for group in sorted(members):
        if len(chosen) + len(members[group]) <= wanted:
            chosen += members[group]
        if len(chosen) == wanted:
            break
    return sorted(chosen)


def hold_out(rows: Path, to: Path, share: float = SHARE) -> int:
    """Choose among the rows of a file in the internal form (`write_rows`), and write their numbers as a JSON list.

    Returns how many. Nothing is written where none are.
    """
    with rows.open(encoding="utf-8") as file:
        numbers = held_out((json.loads(line) for line in file), share)
    if numbers:
        files.write_json(to, numbers, durable=False)
    return len(numbers)
