"""How long a person's rows are, and what a shorter length would take from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from appliance.locale import _


@dataclass(frozen=True)
class Lengths:
    """Tokens of each row. `rough`: guessed from characters, not counted with the model's tokenizer and template."""

    tokens: tuple[int, ...] = field(repr=False)
    rough: bool = True

    @classmethod
    def of(cls, tokens: Iterable[int], rough: bool = True) -> Lengths:
        """From any order."""
        return cls(tuple(sorted(tokens)), rough)

    @property
    def longest(self) -> int:
        """Of the longest row; 0 without rows."""
        return self.tokens[-1] if self.tokens else 0

    def cut(self, length: int) -> tuple[int, float]:
        """(rows that are longer than that, the share of these rows' tokens that is lost: 0 to 1)."""
        longer = [count for count in self.tokens if count > length]
        return len(longer), 1 - length * len(longer) / sum(longer) if longer else 0.0


def matters(lengths: Lengths, decide: Callable[[Lengths], Any]) -> bool:
    """Whether counting would make another plan: rough lengths may be twice the real ones.

    decide  makes the plan for lengths
    """
    if not lengths.rough:
        return False

    def choice(made: Any) -> tuple[Any, ...]:
        return made.method, made.dtype, made.micro_batch, made.checkpointing, made.sharding, made.verdict

    made = decide(lengths)
    shorter = decide(Lengths.of(max(1, count // 2) for count in lengths.tokens))
    return bool(lengths.cut(made.length)[0]) or choice(made) != choice(shorter)


def cut_sentence(lengths: Lengths, length: int) -> str:
    """What that length takes from the rows, for a person; empty where it takes nothing."""
    rows, share = lengths.cut(length)
    if not rows:
        return ""
    if len(lengths.tokens) == 1:  # nothing is known but the longest
        text = _("The longest row has about {longest} tokens; rows of more than {length} are cut.")
        return text.format(longest=lengths.longest, length=length)
    sentence = _(
        "{cut} of {rows} rows have more than {length} tokens (the longest {longest}) and are cut: they lose {percent} "
        "percent of their text."
    ).format(
        cut=rows, rows=len(lengths.tokens), length=length, longest=lengths.longest, percent=max(1, round(100 * share))
    )
    return f"{sentence} {how_known(lengths)}".strip()


def how_known(lengths: Lengths) -> str:
    """A sentence where the model's tokenizer has not seen the rows."""
    return _("Tokens are estimated from characters, rather too many than too few.") if lengths.rough else ""
