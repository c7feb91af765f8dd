"""How well a model foresees answers that it is shown: perplexity on rows kept back, and the rows to calibrate on.

Perplexity is e to the mean loss over the answers' tokens (what a fine-tune would learn): 1 is foreseeing every word.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work import rows
from appliance.work.conversation import Written
from appliance.work.seeing import Seer

_MOST = 100  # rows measured on
_FEWEST = 5
_SHARE = 0.2  # of a small file, of which a fine-tune keeps none back


@dataclass(frozen=True)
class Example:
    """A row in tokens, and which of them are measured (the others have READ_ONLY for a label).

    text, pictures  of a row with pictures: what the processor makes its tokens from
    """

    ids: list[int]
    labels: list[int]
    text: str = ""
    pictures: tuple[str, ...] = ()


def inputs(example: Example, seer: Seer | None, device: Any = "cpu") -> dict[str, Any]:
    """What the model takes for a row, as tensors. Raises Damaged for a picture that has gone bad meanwhile."""
    import torch

    if seer is not None and example.pictures:
        one = {"input_ids": example.ids, "labels": example.labels, "text": example.text, "pictures": example.pictures}
        made = seer.batch([one])
        made.pop("labels")
    else:
        ids = torch.tensor([example.ids])
        made = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return {name: value.to(device) for name, value in made.items()}


def examples(
    tokenizer: Any, folder: Path, length: int, samples: int, seer: Seer | None = None
) -> tuple[list[Example], list[Example], int]:
    """(rows to measure on, rows to calibrate on, rows that were refused: by the template, or for a bad picture).

    Which is which depends on what the rows say alone. Where most rows have pictures, only such calibrate, else none of
    them: llm-compressor follows the model's way for one kind of row.

    Raises ApplianceError where nothing is left to measure on.
    """
    file = folder / "rows.jsonl"
    digests = [_digest(row) for row in rows.read_rows(file)]
    order = sorted(range(len(digests)), key=lambda number: digests[number])
    kept_back = folder / "held_out.json"
    if kept_back.exists():
        held = set(files.read_json(kept_back))
    else:
        held = set(order[: max(_FEWEST, round(_SHARE * len(order)))])
    # Some more than are needed, for those that the template refuses; never a large file as a whole.
    wanted = [number for number in order if number in held][: 2 * _MOST]
    wanted += [number for number in order if number not in held][: 2 * samples]
    chosen = set(wanted)
    given = {number: row for number, row in enumerate(rows.read_rows(file)) if number in chosen}
    measured: list[Example] = []
    calibrated: list[Example] = []
    shown = sum(bool(row.get("images")) for row in given.values()) * 2 > len(given)
    refusals: list[ApplianceError] = []
    for number in wanted:
        side, most = (measured, _MOST) if number in held else (calibrated, samples)
        if len(side) == most or (side is calibrated and bool(given[number].get("images")) != shown):
            continue
        try:
            example = _encode(tokenizer, given[number], length, seer)
        except ApplianceError as error:
            refusals.append(error)
            continue
        if example and (side is calibrated or any(label != rows.READ_ONLY for label in example.labels[1:])):
            side.append(example)
    if not measured or (samples and not calibrated):
        raise refusals[0] if refusals else _nothing_left(length)
    return measured, calibrated, len(refusals)


def _nothing_left(length: int) -> ApplianceError:
    return ApplianceError(
        _("No row is left to measure on."),
        _("Every question alone is longer than the length of {length} tokens.").format(length=length),
        _("Use a longer --length or shorter questions."),
    )


def _digest(row: dict[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=8).digest()


def _encode(tokenizer: Any, row: dict[str, Any], length: int, seer: Seer | None) -> Example | None:
    """A row of any task, cut to the length; of a pair the better answer. None where a picture would be cut.

    Where a template does not tell words apart, all are measured. Raises ApplianceError.
    """
    for part in ("chosen", "completion"):
        if part in row:
            row = {**row, "messages": [*row["prompt"], *row[part]]}
    if seer is not None and row.get("images"):
        seen = seer.encode(row)
        whole = seen["seen"] <= length
        return (
            Example(seen["input_ids"][:length], seen["labels"][:length], seen["text"], tuple(seen["pictures"]))
            if whole
            else None
        )
    try:
        ids, labels = rows.encode(tokenizer, row)
    except ApplianceError:
        text = Written(tokenizer, row["messages"], row.get("tools")).text
        ids = labels = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return Example(ids[:length], labels[:length])


def measure(model: Any, given: list[Example], told: Callable[[int], None], seer: Seer | None = None) -> float:
    """Perplexity of the model on these rows, one at a time on its own device. `told` hears how many are done.

    Raises ApplianceError where it comes out as no number.
    """
    import torch

    device = next(model.parameters()).device
    loss, tokens = 0.0, 0
    for number, example in enumerate(given, 1):
        wanted = torch.tensor(example.labels[1:], device=device)
        with torch.no_grad():
            logits = model(**inputs(example, seer, device), use_cache=False).logits[0, :-1].float()
            loss += float(
                torch.nn.functional.cross_entropy(logits, wanted, ignore_index=rows.READ_ONLY, reduction="sum")
            )
        tokens += sum(label != rows.READ_ONLY for label in example.labels[1:])
        told(number)
    return math.exp(min(loss / tokens, 700.0)) if math.isfinite(loss) else math.inf
