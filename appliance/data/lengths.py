"""How long rows are in tokens: guessed where no tokenizer was asked, and shown as a small plot."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Tokens a character, on the safe side: of Chinese, current tokenizers make 0.6 to 0.8 each; of English 0.25, of code
# 0.35, of long numbers up to 1.
_WIDE, _NARROW = 1.0, 0.5
# What a chat template writes before and around a question and its answer (a system prompt, roles, ends of turns).
_TEMPLATE = 64
_BARS = 6


def rough_tokens(characters: NDArray[np.int64], octets: NDArray[np.int64]) -> NDArray[np.uint32]:
    """About how many tokens rows of so many characters and UTF-8 bytes have: rather too many than too few."""
    import numpy as np

    wide = (octets - characters) / 2  # Chinese takes two bytes more than characters
    return np.round(_TEMPLATE + _WIDE * wide + _NARROW * (characters - wide)).astype(np.uint32)


def described(lengths: array[int], rough: bool) -> dict[str, Any]:
    """The lengths of all rows in a few numbers, for `--json` and the screen.

    `bars` are [{from, to, rows}], at most six classes of rising size from the shortest row to the longest.
    """
    import numpy as np

    found = np.frombuffer(lengths, dtype=np.uint32) if len(lengths) else np.zeros(1, dtype=np.uint32)
    lowest, highest = int(found.min()), int(found.max())
    # Each class is so many times as wide as the one before it: most rows are short, and a few are very long.
    step = (math.log(highest + 1) - math.log(lowest + 1)) / _BARS
    ends = [round(math.exp(math.log(lowest + 1) + step * number)) - 1 for number in range(1, _BARS)]
    ends = [end for end in dict.fromkeys([*ends, highest]) if end >= lowest]
    bars, begin = [], lowest
    for end in ends:
        bars.append({"from": begin, "to": end, "rows": int(((found >= begin) & (found <= end)).sum())})
        begin = end + 1
    return {
        "unit": "tokens",
        "rough": rough,
        "median": int(np.percentile(found, 50, method="higher")),
        "p95": int(np.percentile(found, 95, method="higher")),
        "longest": highest,
        "bars": bars,
    }
