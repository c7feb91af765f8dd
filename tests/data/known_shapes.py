"""What well-known sets and people's own files look like: a row of each in its own columns, and what it means.

What a row means is written as `shape_of` in `test_known_shapes.py` writes it: `u:` user, `a:` assistant, `s:` system,
`t:` tool, `+:` chosen, `-:` rejected, `=good`, `=bad`, `text:`, `img:` how many images, `tools:` their names. A `?`
before it: the report has to ask; a `!`: the file is refused, with these words in what is said.
"""

from __future__ import annotations

from typing import Any

SHAPES: dict[str, tuple[Any, str]] = {}  # filled by `known_chats.py` and the others
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
QA = "u:Why? | a:Because."
THOUGHT = "u:Why? | a:<think>\nHm.\n</think>\n\nBecause."
ARTICLE = "Rome is the capital of Italy. It has many old houses and many new ones. " * 3
文章 = "北京是中国的首都，有许多古老的建筑，也有许多新的建筑，每年接待大量游客。" * 3


def shape(name: str, row: Any, means: str) -> None:
    assert name not in SHAPES
    SHAPES[name] = (row, means)
