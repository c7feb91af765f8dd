"""Sets of bytes: which parts of a file are here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

Span = tuple[int, int]


class Ranges:
    """Disjoint spans (first byte, byte after the last) in order. Every call costs what it touches: it is called for
    every block that comes."""

    def __init__(self, spans: Iterable[Span] = ()):
        self.spans: list[Span] = []
        self.total = 0
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Union with one span."""
        if start >= end:
            return
        first, last = self._touched(start, end)
        touching = self.spans[first:last]
        if touching:
            start, end = min(start, touching[0][0]), max(end, touching[-1][1])
        self.spans[first:last] = [(start, end)]
        self.total += end - start - sum(b - a for a, b in touching)

    def remove(self, start: int, end: int) -> None:
        """Without one span."""
        if start >= end:
            return
        first, last = self._touched(start, end)
        touching = self.spans[first:last]
        left = [part for span in touching for part in _without(span, start, end)]
        self.spans[first:last] = left
        self.total += sum(b - a for a, b in left) - sum(b - a for a, b in touching)

    def minus(self, other: Ranges) -> Ranges:
        """What is here and not in the other."""
        result = Ranges(self.spans)
        for start, end in other.spans:
            result.remove(start, end)
        return result

    def missing(self, start: int, end: int) -> list[Span]:
        """The parts of a span that are not here."""
        first, last = self._touched(start, end)
        found = []
        for a, b in self.spans[first:last]:
            if start < a:
                found.append((start, min(a, end)))
            start = max(start, b)
        return [*found, (start, end)] if start < end else found

    def _touched(self, start: int, end: int) -> tuple[int, int]:
        """Which spans meet or touch start..end: from the first of the two numbers up to the second."""
        first = bisect_left(self.spans, (start,))
        if first and self.spans[first - 1][1] >= start:
            first -= 1
        return first, bisect_left(self.spans, (end + 1,), lo=first)

    @property
    def prefix(self) -> int:
        """So many bytes from the start are here without a gap."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0


def _without(span: Span, start: int, end: int) -> list[Span]:
    parts = [(span[0], min(span[1], start)), (max(span[0], end), span[1])]
    return [part for part in parts if part[0] < part[1]]
