"""Rows that compare answers → token ids: a pair of a better and a worse answer, or one answer and a thumb.

The prompt is only read; the answer with its end of turn is what is judged. Where the model's chat template writes the
prompt differently once the answer follows, the answer begins where the two texts part.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Any

from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.conversation import Written
from appliance.work.rows import READ_ONLY, Encoded

PAIRED = ("dpo", "orpo", "simpo", "reward")


def encode_all(
    tokenizer: Any,
    rows: Iterator[dict[str, Any]],
    length: int,
    task: str,
    seed: int = 42,
    held_out: Collection[int] = (),
) -> Encoded:
    """Encode every row to at most `length` tokens an answer, prompt included.

    Columns: prompt_ids, chosen_ids, rejected_ids (dpo); the whole of each (reward); the whole of each with attention
    masks and labels (orpo, simpo); prompt_ids, completion_ids, KL_completion_ids, label (kto).
    Raises ApplianceError when nothing is left to learn.
    """
    encoded = Encoded([])
    refusal: ApplianceError | None = None
    alike = False
    for number, row in enumerate(rows):
        answers = ("chosen", "rejected") if task in PAIRED else ("completion",)
        try:
            prompt, *ids = encode(tokenizer, row, answers)
        except ApplianceError as error:
            refusal = error
            encoded.refused += 1
            continue
        longest = len(prompt) + max(map(len, ids))
        encoded.longest = max(encoded.longest, longest)
        cut = [answer[: max(0, length - len(prompt))] for answer in ids]
        same = all(cut) and len(cut) == 2 and cut[0] == cut[1]
        if same or not all(cut):  # what is left tells nothing
            alike = alike or same
            encoded.left_out += 1
            continue
        if number in held_out:
            encoded.held_out.append(_columns(task, prompt, cut, row))
            continue
        encoded.cut += longest > length
        encoded.learned_tokens += sum(map(len, cut))
        encoded.examples.append(_columns(task, prompt, cut, row))
    if not encoded.examples and refusal and not encoded.left_out:
        raise refusal
    if not encoded.examples:
        raise ApplianceError(
            _("No row has anything left to learn from."),
            _("In {length} tokens there is no room for an answer, or both answers begin alike.").format(length=length)
            if alike
            else _("Every question alone is longer than the length of {length} tokens.").format(length=length),
            _("Use a longer --length or shorter questions."),
        )
    if task == "kto":
        random.Random(seed).shuffle(encoded.examples)  # noqa: S311
        for examples in (encoded.examples, encoded.held_out):
            # Every answer is also held against another row's prompt: that is how far the model has moved in general.
            given = [example["completion_ids"] for example in examples]
            for example, other in zip(examples, [*given[-1:], *given[:-1]], strict=True):
                example["KL_completion_ids"] = other
    return encoded


def encode(tokenizer: Any, row: dict[str, Any], answers: tuple[str, ...]) -> tuple[list[int], ...]:
    """(prompt, answer …) as token ids. Any answer appended to the prompt is a whole conversation.

    Raises ApplianceError where the chat template can't write it.
    """

    def ids(messages: list[dict[str, Any]], prompt: bool) -> list[int]:
        written = Written(tokenizer, messages, row.get("tools"))
        text = written.part(len(written.messages), prompt)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    prompt = ids(row["prompt"], True)
    whole = [ids([*row["prompt"], *row[answer]], False) for answer in answers]
    shared = len(prompt)
    for one in whole:
        shared = next((place for place in range(min(shared, len(one))) if prompt[place] != one[place]), shared)
        shared = min(shared, len(one))
    return prompt[:shared], *(one[shared:] for one in whole)


def _columns(task: str, prompt: list[int], answers: list[list[int]], row: dict[str, Any]) -> dict[str, Any]:
    if task == "kto":
        return {"prompt_ids": prompt, "completion_ids": answers[0], "label": bool(row["label"])}
    if task == "dpo":
        return {"prompt_ids": prompt, "chosen_ids": answers[0], "rejected_ids": answers[1]}
    if task == "reward":
        return {"chosen_ids": prompt + answers[0], "rejected_ids": prompt + answers[1]}
    columns: dict[str, Any] = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for name, answer in zip(("chosen", "rejected"), answers, strict=True):
        whole = prompt + answer
        columns[f"{name}_input_ids"] = whole
        columns[f"{name}_attention_mask"] = [1] * len(whole)
        columns[f"{name}_labels"] = [READ_ONLY] * len(prompt) + answer
    return columns
