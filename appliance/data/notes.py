"""One remark on a data file: a warning, or a reason for which rows were left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5


@dataclass
class Note:
    """`key` is stable and English; `sentence` is in the person's language; `lines` are the first few places."""

    key: str
    sentence: str
    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """One more case."""
        self.count += 1
        if len(self.lines) < EXAMPLES:
            self.lines.append(line)

    def __str__(self) -> str:
        return self.sentence

    def as_dict(self, key_name: str) -> dict[str, Any]:
        """`key_name` is "reason" for rows left out and "kind" for warnings."""
        return {
            key_name: self.key,
            "sentence": self.sentence,
            "count": self.count,
            "examples": [{"line": line} for line in self.lines],
        }
