"""Is this good to train on? One pass over a file: the rows in the internal form, and the report on all of them."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import files
from appliance.data import workers

if TYPE_CHECKING:
    from appliance.data.report import Report
    from appliance.data.rows import Row


def check(
    file: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
    model: Path | None = None,
    length: int | None = None,
) -> Report:
    """Read the whole file and report on it.

    mapping  our words to the file's columns ({"question": "列A"}), where headers don't say it
    task     sft | dpo | kto | pretrain; None finds out
    sheet    a spreadsheet's sheet by name or number from 1; None takes the likeliest
    model    a folder with a tokenizer: lengths are counted with it, in the training environment; None guesses them
    length   tokens beyond which a row would be cut; None: nothing is too long

    Raises ApplianceError when the file is missing, empty, not readable as any format or has no usable rows;
    UsageError (a kind of it) when a name in `mapping`, `task` or `sheet` does not exist.
    """
    if model is None:
        for quick in (True, False):
            try:
                with workers.ahead(file) as helpers:  # before the rest of us, which takes as long to import
                    return _checked(file, helpers, mapping=mapping, task=task, sheet=sheet, length=length, quick=quick)
            except UnicodeError:  # not UTF-8 all through
                if not quick:
                    raise
    from appliance.data.tally import kept_rows, open_tally
    from appliance.data.tokens import Counting

    stream, tally = open_tally(file, mapping=mapping, task=task, sheet=sheet, length=length)
    assert model is not None
    with Counting(model, length, stream.images) as counting:
        for line, row in kept_rows(stream, tally, counting):
            counting.add(line, row)
    return tally.report


def _checked(file: Path, helpers: workers.Workers | None, **reading: Any) -> Report:
    gc.freeze()  # what is there already need not be looked through again and again: findings hold no circles
    try:
        from appliance.data.look import Look
        from appliance.data.tally import SAMPLE, open_tally

        stream, tally = open_tally(file, **reading)
        for found in stream.through(Look(stream.images, SAMPLE), helpers):
            tally.add(found)
        return tally.finished()
    finally:
        gc.unfreeze()


def load(
    file: Path, *, mapping: Mapping[str, str] | None = None, task: str | None = None, sheet: str | None = None
) -> Iterator[Row]:
    """The usable rows in the internal form (see `rows.py`), read as they are asked for. Raises as `check` does."""
    from appliance.data.tally import kept_rows, open_tally

    stream, tally = open_tally(file, mapping=mapping, task=task, sheet=sheet)
    return (row for _line, row in kept_rows(stream, tally))


def write_rows(
    file: Path,
    to: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
    pictures: Path | None = None,
) -> Report:
    """Check a file and write its usable rows to `to` as JSON lines in the internal form, all or nothing.

    pictures  a folder, made where there are some, for the images that rows name: what is written names those; None
              leaves the names as they are
    What is written can be read with `load` again. Raises as `check` does; `to` is then left as it was.
    """
    from appliance.data.tally import kept_rows, open_tally

    stream, tally = open_tally(file, mapping=mapping, task=task, sheet=sheet)
    known: dict[str, str] = {}
    with files.replacing(to) as opened:
        for _line, row in kept_rows(stream, tally):
            if pictures is not None and "images" in row:
                row = stream.images.copied(row, pictures, known)
            opened.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        tally.report.sha256 = stream.sha256()
    return tally.report


def hold_out(rows: Path, to: Path, share: float) -> int:
    """Choose the rows to measure on among those of `write_rows`; see `held_out.py`. Returns how many."""
    from appliance.data.held_out import hold_out as choose

    return choose(rows, to, share)
