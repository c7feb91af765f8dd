"""How well a model foresees answers that it is shown: perplexity on rows kept back, and the rows to calibrate on.

Perplexity is e to the mean loss over the answers' tokens (what a fine-tune would learn): 1 is foreseeing every word.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work import rows
from appliance.work.conversation import Written

_MOST = 100  # rows measured on
_FEWEST = 5
_SHARE = 0.2  # of a small file, of which a fine-tune keeps none back

Example = tuple[list[int], list[int]]


def examples(tokenizer: Any, folder: Path, length: int, samples: int) -> tuple[list[Example], list[Example], int]:
    """(rows to measure on, rows to calibrate on, rows that the template refused), each row as (input_ids, labels).

    Which is which depends on what the rows say alone. Raises ApplianceError where nothing is left to measure on.
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
    refusals: list[ApplianceError] = []
    for number in wanted:
        side, most = (measured, _MOST) if number in held else (calibrated, samples)
        if len(side) == most:
            continue
        try:
            ids, labels = _encode(tokenizer, given[number])
        except ApplianceError as error:
            refusals.append(error)
            continue
        ids, labels = ids[:length], labels[:length]
        if side is calibrated or any(label != rows.READ_ONLY for label in labels[1:]):
            side.append((ids, labels))
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


def _encode(tokenizer: Any, row: dict[str, Any]) -> Example:
    """A row of any task; of a pair the better answer. Where a template does not tell words apart, all are measured."""
    for part in ("chosen", "completion"):
        if part in row:
            row = {"messages": [*row["prompt"], *row[part]], "tools": row.get("tools")}
    try:
        return rows.encode(tokenizer, row)
    except ApplianceError:
        ids = list(
            tokenizer(Written(tokenizer, row["messages"], row.get("tools")).text, add_special_tokens=False)["input_ids"]
        )
        return ids, list(ids)


def measure(model: Any, given: list[Example], told: Callable[[int], None]) -> float:
    """Perplexity of the model on these rows, one at a time on its own device. `told` hears how many are done.

    Raises ApplianceError where it comes out as no number.
    """
    import torch

    device = next(model.parameters()).device
    loss, tokens = 0.0, 0
    for number, (ids, labels) in enumerate(given, 1):
        wanted = torch.tensor(labels[1:], device=device)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, :-1].float()
            loss += float(
                torch.nn.functional.cross_entropy(logits, wanted, ignore_index=rows.READ_ONLY, reduction="sum")
            )
        tokens += sum(label != rows.READ_ONLY for label in labels[1:])
        told(number)
    return math.exp(min(loss / tokens, 700.0)) if math.isfinite(loss) else math.inf
