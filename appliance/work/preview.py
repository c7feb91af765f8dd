"""Rows as a model will see them: `python -m appliance.work.preview`, asked by the front in the training environment.

On stdin the question as one line of JSON, {"question": "lengths" | "preview", "model": folder or null, "length":
tokens, "images": [place, below]}, then the rows, {"line": …, "row": …}, one a line; on stdout one JSON object when
stdin ends. The same code as a fine-tune's decides what is read and what is learned. Without a model: a ChatML template,
and bytes for tokens.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.data.images import Images
from appliance.errors import ApplianceError, explain
from appliance.hub import model as models
from appliance.locale import set_language
from appliance.work import loading, preferences, rows, seeing
from appliance.work.conversation import Written
from appliance.work.seeing import Seer

_EXAMPLES = 20  # lines that are named
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chatml() -> Any:
    """A tokenizer whose tokens are bytes, with the plainest template that models are trained with."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        chat_template=_CHATML,
    )


def lengths(
    tokenizer: Any, given: Iterator[dict[str, Any]], length: int | None, seer: Seer | None = None
) -> dict[str, Any]:
    """How many tokens the rows have: how often each length, and which rows are too long or can't be written."""
    counts: Counter[int] = Counter()
    over, too_long = 0, {"count": 0, "lines": []}
    refused: dict[str, Any] = {"count": 0, "lines": [], "why": ""}
    for item in given:
        try:
            found = max(len(ids) for ids in _ids(tokenizer, item["row"], seer))
        except ApplianceError as error:
            refused["why"] = refused["why"] or error.why or error.what
            _add(refused, item["line"])
            continue
        counts[found] += 1
        if length is not None and found > length:
            over = max(over, found - length)
            _add(too_long, item["line"])
    return {"counts": sorted(counts.items()), "over": over, "too_long": too_long, "refused": refused}


def _add(note: dict[str, Any], line: int) -> None:
    note["count"] += 1
    if len(note["lines"]) < _EXAMPLES:
        note["lines"].append(line)


def _ids(tokenizer: Any, row: dict[str, Any], seer: Seer | None) -> Iterator[list[int]]:
    """The tokens of a row; of a preference pair, of both sides."""
    if seer and "messages" in row:
        yield seer.encode(row)["input_ids"]
        return
    if "text" in row:
        yield rows.encode(tokenizer, row)[0]
        return
    for messages in _conversations(row):
        text = Written(tokenizer, messages, row.get("tools")).text
        yield list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _conversations(row: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    if "messages" in row:
        yield row["messages"]
    for part in ("chosen", "rejected", "completion"):
        if part in row:
            yield [*row["prompt"], *row[part]]


def preview(tokenizer: Any, given: Iterator[dict[str, Any]], seer: Seer | None = None) -> dict[str, Any]:
    """The rows piece by piece, {text, learned}; a preference pair as two."""
    shown = []
    for item in given:
        row = item["row"]
        try:
            for part, (ids, labels) in _encoded(tokenizer, row, seer):
                shown.append(
                    {
                        "line": item["line"],
                        "part": part,
                        "pieces": _pieces(tokenizer, ids, labels),
                        "tokens": len(ids),
                        "learned_tokens": sum(label != rows.READ_ONLY for label in labels),
                        "unended": rows.unended(tokenizer, ids, labels),
                    }
                )
        except ApplianceError as error:
            shown.append({"line": item["line"], "part": "", "pieces": [], "error": error.as_dict()})
    return {"rows": shown}


def _encoded(
    tokenizer: Any, row: dict[str, Any], seer: Seer | None
) -> Iterator[tuple[str, tuple[list[int], list[int]]]]:
    if seer and "messages" in row:
        made = seer.encode(row)
        yield "", (made["input_ids"], made["labels"])
        return
    if "messages" in row or "text" in row:
        yield "", rows.encode(tokenizer, row)
        return
    answers = tuple(part for part in ("chosen", "rejected", "completion") if part in row)
    prompt, *encoded = preferences.encode(tokenizer, row, answers)
    for part, answer in zip(answers, encoded, strict=True):
        name = ("good" if row["label"] else "bad") if part == "completion" else part
        yield name, (prompt + answer, [rows.READ_ONLY] * len(prompt) + answer)


def _pieces(tokenizer: Any, ids: list[int], labels: list[int]) -> list[dict[str, Any]]:
    pieces: list[tuple[bool, list[int]]] = []
    for token, label in zip(ids, labels, strict=True):
        learned = label != rows.READ_ONLY
        if not pieces or pieces[-1][0] != learned:
            pieces.append((learned, []))
        pieces[-1][1].append(token)
    return [
        {"text": tokenizer.decode(tokens, clean_up_tokenization_spaces=False), "learned": learned}
        for learned, tokens in pieces
    ]


def _seer(tokenizer: Any, asked: dict[str, Any]) -> Seer | None:
    """For a model that takes pictures as well."""
    if not asked["model"] or not asked.get("images") or not models.look(Path(asked["model"]))[0].vision:
        return None
    place, below = asked["images"]
    return seeing.load(Path(asked["model"]), tokenizer, Images(Path(place), below))


def main() -> int:
    """Answer the question on stdin; exit code 1 with {"error": …}."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    asked = json.loads(sys.stdin.readline())
    set_language(asked.get("language"))
    given = (json.loads(line) for line in sys.stdin)
    try:
        import transformers

        transformers.logging.set_verbosity_error()
        tokenizer = loading.load_tokenizer(Path(asked["model"])) if asked["model"] else chatml()
        seer = _seer(tokenizer, asked)
        if asked["question"] == "lengths":
            answer = lengths(tokenizer, given, asked["length"], seer)
        else:
            answer = preview(tokenizer, given, seer)
    except Exception as error:
        print(json.dumps({"error": explain(error).as_dict()}), flush=True)
        return 1
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
