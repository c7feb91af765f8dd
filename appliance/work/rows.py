"""Rows in the internal form → token ids and labels: what is read, and what is learned.

Labels are -100 where a token is only read. Learned are the assistant's own words and its end-of-turn token, as the
model's own chat template writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.locale import _

READ_ONLY = -100


@dataclass
class Encoded:
    """All rows as token ids, and how many had to be cut or left out."""

    examples: list[dict[str, Any]]
    cut: int = 0
    left_out: int = 0
    longest: int = 0
    learned_tokens: int = 0


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The job's own snapshot of the data, one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def encode_all(tokenizer: Any, rows: Iterator[dict[str, Any]], length: int) -> Encoded:
    """Encode every row to at most `length` tokens. Raises ApplianceError when nothing is left to learn."""
    encoded = Encoded([])
    for row in rows:
        ids, labels = encode(tokenizer, row)
        encoded.longest = max(encoded.longest, len(ids))
        too_long = len(ids) > length
        ids, labels = ids[:length], labels[:length]
        if all(label == READ_ONLY for label in labels[1:]):
            encoded.left_out += 1
            continue
        encoded.cut += too_long
        encoded.learned_tokens += sum(label != READ_ONLY for label in labels)
        encoded.examples.append({"input_ids": ids, "labels": labels})
    if not encoded.examples:
        raise ApplianceError(
            _("No row has anything left to learn from."),
            _("Every question alone is longer than the length of {length} tokens.").format(length=length),
            _("Use a longer --length or shorter questions."),
        )
    return encoded


def encode(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """One row as (input_ids, labels)."""
    if "text" in row:
        ids = [*tokenizer(row["text"], add_special_tokens=True)["input_ids"], tokenizer.eos_token_id]
        return ids, list(ids)
    options: dict[str, Any] = {"tools": row["tools"]} if row.get("tools") else {}
    if "{% generation" in (tokenizer.chat_template or "").replace("{%-", "{%"):
        both = tokenizer.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **options
        )
        ids, marked = list(both["input_ids"]), list(both["assistant_masks"])
        learned = list(marked)
        special = set(tokenizer.all_special_ids)
        for place in range(1, len(ids)):
            # Some templates leave the end of the turn outside the mark; a model that never learns it never stops.
            if marked[place - 1] and not marked[place] and ids[place] in special:
                learned[place] = 1
        return ids, [token if mark else READ_ONLY for token, mark in zip(ids, learned, strict=True)]
    return _encode_by_prefix(tokenizer, row["messages"], options)


def _encode_by_prefix(
    tokenizer: Any, messages: list[dict[str, Any]], options: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """For templates that don't mark the assistant's words: what a turn adds to the conversation before it.

    Some templates write an earlier turn differently once more turns follow (they drop its reasoning). Then only what is
    still a common prefix is comparable, so the turn is learned from where the texts begin to agree with the whole.
    """

    def text(part: list[dict[str, Any]], prompt: bool) -> str:
        return str(tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=prompt, **options))

    whole = text(messages, False)
    learned: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        begin, end = text(messages[:index], True), text(messages[: index + 1], False)
        start = len(begin) if whole.startswith(begin) else -1
        if start < 0 and whole.startswith(text(messages[:index], False)):
            start = len(text(messages[:index], False))
        if start >= 0 and whole.startswith(end):
            learned.append((start, len(end)))
    if not learned:
        raise ApplianceError(
            _("This model's chat template can't be used for training."),
            _("It writes the same turn differently depending on what follows, so what to learn can't be told apart."),
            _("Choose the instruct version of the model, or put a newer chat_template.jinja into its folder."),
        )
    tokens = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(tokens["input_ids"])
    labels = [
        token if any(start <= first and last <= end and last > first for start, end in learned) else READ_ONLY
        for token, (first, last) in zip(ids, tokens["offset_mapping"], strict=True)
    ]
    return ids, labels
