"""Sets of bytes: which parts of a file are here."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]


class Ranges:
    """Disjoint spans (first byte, byte after the last) in order."""

    def __init__(self, spans: Iterable[Span] = ()):
        self.spans: list[Span] = []
        self.total = 0
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Union with one span."""
        if start >= end:
            return
        before = [span for span in self.spans if span[1] < start]
        after = [span for span in self.spans if span[0] > end]
        touching = self.spans[len(before) : len(self.spans) - len(after)]
        if touching:
            start, end = min(start, touching[0][0]), max(end, touching[-1][1])
        self.spans = [*before, (start, end), *after]
        self.total += end - start - sum(b - a for a, b in touching)

    def remove(self, start: int, end: int) -> None:
        """Without one span."""
        if start < end:
            self._set(part for span in self.spans for part in _without(span, start, end))

    def minus(self, other: Ranges) -> Ranges:
        """What is here and not in the other."""
        result = Ranges(self.spans)
        for start, end in other.spans:
            result.remove(start, end)
        return result

    def covers(self, start: int, end: int) -> bool:
        """Whether every byte of a span is here."""
        return any(a <= start and end <= b for a, b in self.spans)

    @property
    def prefix(self) -> int:
        """So many bytes from the start are here without a gap."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0

    def _set(self, spans: Iterable[Span]) -> None:
        self.spans = list(spans)
        self.total = sum(end - start for start, end in self.spans)


def _without(span: Span, start: int, end: int) -> list[Span]:
    parts = [(span[0], min(span[1], start)), (max(span[0], end), span[1])]
    return [part for part in parts if part[0] < part[1]]
