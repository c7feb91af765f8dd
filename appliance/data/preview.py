"""Rows as a model will see them, through its own chat template: what is learned marked off from what is only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from appliance.locale import _


@dataclass
class Preview:
    """The first rows of a file. `rows` are {line, part, pieces: [{text, learned}], tokens, learned_tokens, unended}.

    `part` is chosen or rejected for preference pairs, good or bad for rows with a label, else "". A row that the
    template can't write has no pieces and an `error`. `model` is None where a ChatML template stood in for one.
    """

    file: Path
    model: str | None
    task: str
    rows: list[dict[str, Any]]
    warnings: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "file": str(self.file),
            "model": self.model,
            "template": "chatml" if self.model is None else "model",
            "task": self.task,
            "rows": self.rows,
            "warnings": self.warnings,
        }


def preview(
    file: Path,
    *,
    model: Path | None = None,
    rows: int = 3,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
) -> Preview:
    """The first `rows` usable rows of a file as the model in a folder will see them; None: as ChatML.

    Raises as `check` does, and ApplianceError where the training environment or the tokenizer is missing.
    """
    from appliance.data.tally import kept_rows, open_tally
    from appliance.data.tokens import Asked

    stream, tally = open_tally(file, mapping=mapping, task=task, sheet=sheet)
    first = list(islice(kept_rows(stream, tally), rows))
    with Asked("preview", model, images=stream.images) as asked:
        for line, row in first:
            asked.add(line, row)
        shown = asked.told()["rows"]
    made = Preview(file, None if model is None else str(model), tally.report.task, shown)
    lines = sorted({row["line"] for row in shown if row.get("unended")})
    if lines:
        sentence = _("Lines {lines}: the end-of-turn token is not learned, so a model taught with them may never stop.")
        made.warnings.append({"kind": "end_not_learned", "sentence": sentence.format(lines=", ".join(map(str, lines)))})
    lines = sorted({row["line"] for row in shown if "error" in row})
    if lines:
        sentence = _("Lines {lines} can't be written in this chat template.")
        made.warnings.append(
            {"kind": "template_refuses", "sentence": sentence.format(lines=", ".join(map(str, lines)))}
        )
    return made
