"""The order in which rows are learned: by chance; where rows are padded, those of about the same length together.

A batch is padded to its longest row, and what is padded costs as much as what is learned. So within a stretch of many
steps rows are put in order of their length and cut into steps; the steps come in random order. Where nothing is padded
chance alone decides: in a step of short rows each of their words would count more than those of long ones. The order
depends on the seed and the pass alone, so a resumed training and one on several cards see the same rows at the same
step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_STRETCH = 50  # steps: longer ones pad less, but their rows are less mixed


class ByChance:
    """A sampler for torch's DataLoader. The step with the longest row comes first.

    step    rows a step of all cards
    padded  whether rows of about the same length have to go together
    """

    def __init__(self, lengths: Sequence[int], step: int, seed: int, *, padded: bool):
        self._lengths, self._step, self._seed = lengths, step, seed
        self._padded = padded
        self._pass = 0

    def set_epoch(self, number: int) -> None:
        """The pass that is iterated next, from 0."""
        self._pass = number

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        chance = random.Random(f"{self._seed}-{self._pass}")  # noqa: S311
        rows = list(range(len(self._lengths)))
        chance.shuffle(rows)
        rest = rows[len(rows) - len(rows) % self._step :]
        rows = rows[: len(rows) - len(rest)]
        if self._padded:
            size = _STRETCH * self._step
            stretches = [rows[start : start + size] for start in range(0, len(rows), size)]
            rows = [row for stretch in stretches for row in sorted(stretch, key=lambda row: -self._lengths[row])]
        steps = [rows[place : place + self._step] for place in range(0, len(rows), self._step)]
        chance.shuffle(steps)
        if steps and self._pass == 0:
            # Memory that is not enough shows at the first step and not after an hour.
            longest = max(range(len(steps)), key=lambda number: max(self._lengths[row] for row in steps[number]))
            steps[0], steps[longest] = steps[longest], steps[0]
        for step in steps:
            yield from step
        yield from rest
