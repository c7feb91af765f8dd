"""One remark on a data file: a warning, or a reason for which rows were left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 20


@dataclass
class Note:
    """`key` is stable and English; `sentence` is in the person's language; `lines` are the first few places."""

    key: str
    sentence: str
    count: int = 0
    lines: list[int] = field(default_factory=list)
    like: dict[int, int] = field(default_factory=dict)  # line -> the earlier line that it is like

    def add(self, line: int, like: int | None = None) -> None:
        """One more case."""
        self.count += 1
        if len(self.lines) < EXAMPLES:
            self.lines.append(line)
            if like is not None:
                self.like[line] = like

    @property
    def as_reason(self) -> bool:
        """Whether the sentence tells about one row; those of warnings say themselves how many there are."""
        from appliance.data.report import REASONS

        return self.key in REASONS

    def __str__(self) -> str:
        return self.sentence

    def as_dict(self, key_name: str) -> dict[str, Any]:
        """`key_name` is "reason" for rows left out and "kind" for warnings."""
        return {
            key_name: self.key,
            "sentence": self.sentence,
            "count": self.count,
            "examples": [
                {"line": line, "like": self.like[line]} if line in self.like else {"line": line} for line in self.lines
            ],
        }
