"""Rows for learning by trial: answers to a question are tried, and rewards hold them against the row's own answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from appliance import rewards
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.conversation import Written, spelled_out
from appliance.work.rows import Encoded


def encode_all(tokenizer: Any, rows: Iterator[dict[str, Any]], length: int, held_out: Collection[int] = ()) -> Encoded:
    """{prompt: messages, expected: text} of every row whose question leaves half of `length` tokens for an answer.

    Raises ApplianceError when none does.
    """
    encoded = Encoded([])
    refusal: ApplianceError | None = None
    for number, row in enumerate(rows):
        messages = row["messages"][:-1]
        if not row["messages"][-1].get("content"):  # a call, which no reward can be held against
            encoded.wordless += 1
            continue
        try:
            # TRL hands on roles and contents: tools and calls are told in words.
            written = Written(tokenizer, spelled_out(messages, row.get("tools") or []), None)
        except ApplianceError as error:
            refusal = error
            encoded.refused += 1
            continue
        asked = written.part(len(written.messages), prompt=True)
        tokens = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
        encoded.longest = max(encoded.longest, tokens)
        if tokens > length // 2:
            encoded.left_out += 1
            continue
        # Only what every row has: a table of rows would fill in the rest with nothing.
        plain = [{"role": one["role"], "content": one["content"]} for one in written.messages]
        example = {"prompt": plain, "expected": row["messages"][-1]["content"]}
        (encoded.held_out if number in held_out else encoded.examples).append(example)
    if not encoded.examples and refusal and not encoded.left_out:
        raise refusal
    if not encoded.examples and encoded.wordless and not encoded.left_out:
        raise ApplianceError(
            _("No row has anything left to learn from."),
            _("None has an answer in words that a tried answer could be held against."),
            _("Rows with tool calls are learned by --task sft."),
        )
    if not encoded.examples:
        raise ApplianceError(
            _("No row has anything left to learn from."),
            _("Every question alone is longer than half the length of {length} tokens.").format(length=length),
            _("Use a longer --length or shorter questions."),
        )
    return encoded


def judges(wanted: list[dict[str, Any]]) -> list[Callable[..., list[float]]]:
    """The rewards as functions that TRL calls with a batch of answers."""
    return [_judge(reward) for reward in wanted]


def _judge(reward: dict[str, Any]) -> Callable[..., list[float]]:
    judge = rewards.judge(reward)

    def judged(*, completions: list[Any], expected: list[str], **_more: Any) -> list[float]:
        said = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        return [judge(text, wanted) for text, wanted in zip(said, expected, strict=True)]

    judged.__name__ = str(reward["kind"])
    return judged
