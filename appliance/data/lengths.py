"""How long rows are: counted in constant memory, and shown as a small plot.

Lengths are gathered in classes that grow by a twelfth, so that a median or a 95th percentile is right within 8%; the
longest is exact.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CLASSES = 9  # per doubling: 2 ** (1 / 9) is 1.08
_BARS = 8
# What one token stands for, in a text of which nothing but the number of characters and bytes is known: about four
# letters, or 0.7 of a Chinese character. Tokenizers differ by a third either way.
_TOKENS_PER_LETTER, _TOKENS_PER_WIDE = 0.27, 0.75


@dataclass
class Lengths:
    """Rows by their length. `unit` is tokens or characters; `rough` tokens are guessed from characters."""

    unit: str = "tokens"
    rough: bool = True
    longest: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, lengths: NDArray[np.int64]) -> None:
        """More rows."""
        import numpy as np

        if len(lengths):
            classes = np.where(lengths > 0, np.round(_CLASSES * np.log2(np.maximum(lengths, 1))), -1).astype(int)
            numbers, rows = np.unique(classes, return_counts=True)
            self.counts.update(dict(zip(numbers.tolist(), rows.tolist(), strict=True)))
            self.longest = max(self.longest, int(lengths.max()))

    def percentile(self, share: float) -> int:
        """The length that this share of the rows does not exceed."""
        wanted, seen = share * self.counts.total(), 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= wanted:
                return min(self.longest, _upper(number))
        return 0

    def bars(self) -> list[dict[str, int]]:
        """[{from, to, rows}]: at most eight classes of rising size from the shortest to the longest row."""
        if not self.counts:
            return []
        lowest, highest = min(self.counts), max(self.counts)
        width = max(1, math.ceil((highest - lowest + 1) / _BARS))
        bars = []
        for begin in range(lowest, highest + 1, width):
            rows = sum(self.counts[number] for number in range(begin, begin + width))
            bars.append({"from": _lower(begin), "to": min(self.longest, _upper(begin + width - 1)), "rows": rows})
        return bars

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "unit": self.unit,
            "rough": self.rough,
            "median": self.percentile(0.5),
            "p95": self.percentile(0.95),
            "longest": self.longest,
            "bars": self.bars(),
        }


def rough_tokens(characters: NDArray[np.int64], octets: NDArray[np.int64]) -> NDArray[np.int64]:
    """About how many tokens texts of so many characters and UTF-8 bytes have; no tokenizer was asked."""
    import numpy as np

    wide = (octets - characters) / 2  # a Chinese character has three bytes
    return np.ceil(_TOKENS_PER_LETTER * (characters - wide) + _TOKENS_PER_WIDE * wide).astype(np.int64)


def _lower(number: int) -> int:
    return 0 if number < 0 else math.ceil(2 ** ((number - 0.5) / _CLASSES))


def _upper(number: int) -> int:
    return 0 if number < 0 else math.floor(2 ** ((number + 0.5) / _CLASSES))
