"""The order in which rows are learned: by chance, but rows of about the same length together.

A batch is padded to its longest row, and what is padded costs as much as what is learned. Within a stretch of many
steps rows are put in order of their length and cut into steps; the steps come in random order. The order depends on the
seed and the pass alone, so a resumed training and one on several cards see the same rows at the same step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_STRETCH = 50  # steps: longer ones pad less, but their rows are less mixed


class GroupedByLength:
    """A sampler for torch's DataLoader. `step`: rows a step of all cards; the longest step of all comes first."""

    def __init__(self, lengths: Sequence[int], step: int, seed: int):
        self._lengths, self._step, self._seed = lengths, step, seed
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
        steps: list[list[int]] = []
        for start in range(0, len(rows), _STRETCH * self._step):
            stretch = sorted(rows[start : start + _STRETCH * self._step], key=lambda row: -self._lengths[row])
            steps += [stretch[place : place + self._step] for place in range(0, len(stretch), self._step)]
        chance.shuffle(steps)
        if steps and self._pass == 0:
            # Memory that is not enough shows at the first step and not after an hour.
            longest = max(range(len(steps)), key=lambda number: self._lengths[steps[number][0]])
            steps[0], steps[longest] = steps[longest], steps[0]
        for step in steps:
            yield from step
        yield from rest
