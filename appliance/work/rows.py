"""Rows in the internal form → token ids and labels: what is read, and what is learned.

Labels are -100 where a token is only read. Learned are the assistant's own words and its end-of-turn token, as the
model's own chat template writes them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.conversation import Written

if TYPE_CHECKING:
    from appliance.work.seeing import Seer

READ_ONLY = -100


class Damaged(ApplianceError):
    """A row's picture can't be read."""


@dataclass
class Encoded:
    """All rows as token ids, and how many had to be cut or left out."""

    examples: list[dict[str, Any]]
    held_out: list[dict[str, Any]] = field(default_factory=list)  # never learned from; the loss on them is measured
    cut: int = 0
    left_out: int = 0
    refused: int = 0  # by the chat template
    damaged: int = 0  # a picture of theirs can't be read
    wordless: int = 0  # to be learned by trial, without an answer in words
    longest: int = 0
    learned_tokens: int = 0


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The job's own snapshot of the data, one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def encode_all(
    tokenizer: Any,
    rows: Iterator[dict[str, Any]],
    length: int,
    held_out: Collection[int] = (),
    seer: Seer | None = None,
) -> Encoded:
    """Encode every row to at most `length` tokens, plain texts in pieces; those with the numbers in `held_out`
    are kept apart.

    seer  of a model that sees; its rows may have pictures, which are never cut

    Raises ApplianceError when nothing is left to learn.
    """
    encoded = Encoded([])
    refusal: ApplianceError | None = None
    for number, row in enumerate(rows):
        try:
            if seer:
                example = seer.encode(row)
            else:
                example = dict(zip(("input_ids", "labels"), encode(tokenizer, row), strict=True))
        except ApplianceError as error:
            refusal = error
            encoded.damaged += isinstance(error, Damaged)
            encoded.refused += not isinstance(error, Damaged)
            continue
        ids, labels = example["input_ids"], example["labels"]
        encoded.longest = max(encoded.longest, len(ids))
        # A text goes on in the next piece; a conversation would lose what its answers are about.
        starts = range(0, len(ids) - 1, length) if "text" in row else (0,)
        pieces = [
            {**example, "input_ids": ids[start : start + length], "labels": labels[start : start + length]}
            for start in starts
        ]
        pieces = [
            piece
            for piece in pieces
            if any(label != READ_ONLY for label in piece["labels"][1:]) and piece.pop("seen", 0) <= length
        ]
        encoded.left_out += not pieces
        for piece in pieces:
            if number in held_out:
                encoded.held_out.append(piece)
                continue
            encoded.learned_tokens += sum(label != READ_ONLY for label in piece["labels"])
            encoded.examples.append(piece)
        encoded.cut += len(ids) > length and "text" not in row and bool(pieces) and number not in held_out
    if not encoded.examples and refusal and not encoded.left_out:
        raise refusal
    if not encoded.examples:
        raise ApplianceError(
            _("No row has anything left to learn from."),
            _("Every question alone is longer than the length of {length} tokens.").format(length=length),
            _("Use a longer --length or shorter questions."),
        )
    return encoded


def encode(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """One row as (input_ids, labels). Raises ApplianceError where the template can't write it."""
    if "text" in row:
        ids = list(tokenizer(row["text"], add_special_tokens=True)["input_ids"])
        ids += [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        return ids, list(ids)
    written = Written(tokenizer, row["messages"], row.get("tools"))
    marks = "{% generation" in (tokenizer.chat_template or "").replace("{%-", "{%")
    if marks and all(one.get("weight") != 0 for one in written.messages):  # marks stand on every answer
        return _encode_by_marks(tokenizer, written)
    return _encode_by_turns(tokenizer, written)


def _encode_by_marks(tokenizer: Any, written: Written) -> tuple[list[int], list[int]]:
    """For templates that mark the assistant's words themselves."""
    both = tokenizer.apply_chat_template(
        written.messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **written.options
    )
    ids, marked = list(both["input_ids"]), list(both["assistant_masks"])
    learned = list(marked)
    special = set(tokenizer.all_special_ids)
    for place in range(1, len(ids)):
        # Some templates leave the end of the turn outside the mark; a model that never learns it never stops.
        if marked[place - 1] and not marked[place] and ids[place] in special:
            learned[place] = 1
    return ids, [token if mark else READ_ONLY for token, mark in zip(ids, learned, strict=True)]


def _encode_by_turns(tokenizer: Any, written: Written) -> tuple[list[int], list[int]]:
    """For templates that don't mark the assistant's words: what a turn adds to the conversation before it.

    Raises ApplianceError where that can't be told apart.
    """
    learned = written.learned()
    tokens = tokenizer(written.text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(tokens["input_ids"])
    return ids, labelled(tokenizer, ids, tokens["offset_mapping"], learned)


def labelled(
    tokenizer: Any, ids: list[int], offsets: list[tuple[int, int]], learned: list[tuple[int, int]]
) -> list[int]:
    """The tokens that stand in the learned places of a text, READ_ONLY for the others. Offsets: a token's place."""
    labels = [
        token if any(start <= first and last <= end and last > first for start, end in learned) else READ_ONLY
        for token, (first, last) in zip(ids, offsets, strict=True)
    ]
    special = set(tokenizer.all_special_ids)
    for place in range(1, len(ids)):
        # Where the sign that begins the next turn ends this one (GLM), the model has to learn to write it.
        if labels[place - 1] != READ_ONLY and labels[place] == READ_ONLY and ids[place] in special:
            labels[place] = READ_ONLY if ids[place - 1] in special else ids[place]
    return labels


def unended(tokenizer: Any, ids: list[int], labels: list[int]) -> int:
    """How many learned turns do not end with a sign that ends a turn: a model taught so never stops."""
    special = {*tokenizer.all_special_ids, tokenizer.eos_token_id}
    count, last = 0, READ_ONLY  # the last token of the turn being learned, line ends aside
    for token, label in zip([*ids, 0], [*labels, READ_ONLY], strict=True):
        if label != READ_ONLY:
            last = token if last == READ_ONLY or tokenizer.decode([token]).strip() else last
        elif last != READ_ONLY:
            count += last not in special
            last = READ_ONLY
    return count
