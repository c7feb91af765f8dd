"""A better copy of a data file: rows that can't be used left out, garbled text mended, placeholders filled, personal
data masked where asked; and a list of all of it, row by row. The original is never written.

The copy keeps the file's own columns and layout: JSON stays JSON, JSON lines stay lines, plain text stays text; a
table, from whatever program, becomes CSV that Excel opens. It reads as the original did, and looks familiar.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _

if TYPE_CHECKING:
    from appliance.data.report import Report
    from appliance.data.rows import Row
    from appliance.data.stream import Batch, Stream

Steps = Generator[None, Any, None]  # is sent raw rows, and None at the end

_ENDINGS = {"json": ".json", "table": ".csv", "text": ".txt"}  # jsonl for all others
# Not texts: what stands under these names points to something.
_LEFT_ALONE = {"images", "image", "image_url", "url", "path", "bytes", "id", "tool_call_id"}


@dataclass
class Cleaned:
    """What was written. `filled` and `masked` count places, `changed` rows; `report` is on the copy's rows."""

    report: Report
    to: Path
    changes: Path  # the list of what was changed or left out
    changed: int = 0
    mended: int = 0
    filled: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)

    def count(self, change: _Change) -> None:
        """One row that was written otherwise than it stood there."""
        self.changed += 1
        self.mended += change.mended
        self.filled += change.filled
        self.masked += change.masked

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        report = self.report.as_dict()
        kept = {key: report[key] for key in ("file", "format", "task", "rows", "kept", "dropped", "warnings")}
        return {
            **kept,
            "to": str(self.to),
            "changes": str(self.changes),
            "changed": self.changed,
            "mended": self.mended,
            "filled": dict(self.filled),
            "masked": dict(self.masked),
            "placeholders": self.report.placeholders,
        }


def clean(
    file: Path,
    *,
    to: Path | None = None,
    mask: bool = False,
    fill: Mapping[str, str] | None = None,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
) -> Cleaned:
    """Write a copy of a file with only its usable rows, and beside it the list of what was changed or left out.

    to    the copy; None: `NAME-clean` beside the original, with the ending that fits. It must not be there yet
    mask  put a mark such as [PHONE] in place of what looks like personal data or a key
    fill  values for placeholders: {"name": "Ada"} for {{name}}

    Of a folder or a zip with pictures the copy is a folder too, with the pictures that its rows show.

    All or nothing: when anything fails, or power does, neither file is there. Raises as `check` does, and
    ApplianceError where `to` is taken.
    """
    from appliance.data.copies import copy_at
    from appliance.data.look import Look
    from appliance.data.report import REASONS
    from appliance.data.stream import batch_of
    from appliance.data.tally import SAMPLE, open_tally

    stream, tally = open_tally(file, mapping=mapping, task=task, sheet=sheet)
    ending, pictures = _ENDINGS.get(stream.source.kind, ".jsonl"), stream.source.images
    target = _target(file, to, ending if pictures is None else "")
    cleaned = Cleaned(tally.report, target, target.with_name(f"{target.stem}-changes.csv"))
    _refuse_taken(cleaned.changes)
    look, better = Look(stream.images, SAMPLE), _Better(mask, fill or {})
    with ExitStack() as stack:
        # The copy takes its place last: where it stands, its list does.
        copy, put = stack.enter_context(copy_at(target, ending, pictures))
        writer = _writer(stack.enter_context(files.replacing(copy)), stream)
        log = csv.writer(_Text(stack.enter_context(files.replacing(cleaned.changes))))
        log.writerow([_("line"), _("what"), _("why")])
        for batch in stream.batches():
            changes = [better(value) for value in batch.raw]
            again = batch_of(batch.lines, [change.value for change in changes], stream.recogniser)
            found, rows = look.usable(again)
            keep = tally.add(found)
            reasons = _reasons(again, found.dropped, rows, keep)
            for row, kept in zip(rows, keep, strict=True):
                if kept:
                    put(row)
            for line, change, reason in zip(batch.lines, changes, reasons, strict=True):
                if reason:
                    log.writerow([line, _("left out"), _(REASONS[reason])])
                    continue
                writer(change.value)
                if change.why:
                    log.writerow([line, _("changed"), "; ".join(change.why)])
                    cleaned.count(change)
        tally.finished()
        writer(None)
    return cleaned


def _reasons(batch: Batch, dropped: list[tuple[str, int]], rows: list[Row], keep: Any) -> list[str]:
    """For each row of a batch why it is left out, or ""."""
    kept = {id(row): bool(one) for row, one in zip(rows, keep, strict=True)}
    # What was found when the rows were looked at, line by line: many rows may stand on one.
    later = Counter(dropped) - Counter(zip(batch.reasons, batch.lines, strict=True))
    reasons = []
    for reason, line, row in zip(batch.reasons, batch.lines, batch.rows, strict=True):
        if row is not None and id(row) not in kept:
            reason = next(found for found, place in later if place == line and later[found, place])
            later[reason, line] -= 1
        elif row is not None and not kept[id(row)]:
            reason = "duplicate"
        reasons.append(reason)
    return reasons


def _target(file: Path, to: Path | None, ending: str) -> Path:
    if to is not None:
        target = to.expanduser().absolute()
        _refuse_taken(target)
        return target
    stem = file.name.removesuffix(".gz")
    stem = stem[: -len(Path(stem).suffix)] if Path(stem).suffix else stem
    number = 1
    while True:
        name = f"{stem}-clean" if number == 1 else f"{stem}-clean-{number}"
        target = file.absolute().with_name(name + ending)
        if not os.path.lexists(target) and not os.path.lexists(target.with_name(f"{name}-changes.csv")):
            return target
        number += 1


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise ApplianceError(
            _("{name} is there already.").format(name=path),
            _("Cleaning never writes over anything, least of all over the original."),
            _("Choose another name with --to, or remove that file first."),
        )


@dataclass
class _Change:
    """A raw row as it should be, what was done to it in words, and how often."""

    value: Any
    why: dict[str, None] = field(default_factory=dict)
    mended: int = 0
    filled: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)


class _Better:
    """Mends, fills and masks every text of a raw row."""

    def __init__(self, mask: bool, fill: Mapping[str, str]):
        from appliance.data import look, mojibake, private

        self._mask, self._fill, self._now = mask, fill, _Change(None)
        self._mended, self._masked, self._placeholder = mojibake.mended, private.masked, look.PLACEHOLDER

    def __call__(self, value: Any) -> _Change:
        from appliance.data.tables import Broken

        self._now = _Change(value)
        if isinstance(value, dict):
            try:
                self._now.value = self._inner(value)
                json.dumps(self._now.value)
            except RecursionError:
                return _Change(Broken("too_deep"))
        return self._now

    def _inner(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._inner(one) for one in value]
        if isinstance(value, dict):
            return {key: one if key in _LEFT_ALONE else self._inner(one) for key, one in value.items()}
        return value

    def _text(self, text: str) -> str:
        now = self._now
        if not text.isascii() and (better := self._mended(text)) is not None:
            text = better
            now.mended += 1
            now.why[_("garbled text was mended")] = None
        if text[:1] in ("{", "[") and text[:2] != "{{":  # JSON in a cell stays JSON whatever it is filled with
            try:
                inner = json.loads(text)
            except (ValueError, RecursionError):
                inner = None
            if isinstance(inner, (dict, list)):
                better_inner = self._inner(inner)
                return text if better_inner == inner else json.dumps(better_inner, ensure_ascii=False)
        if self._fill and "{{" in text:
            text = self._placeholder.sub(self._filled, text)
        if self._mask:
            text, kinds = self._masked(text)
            now.masked.update(kinds)
            now.why.update(dict.fromkeys(_MASKED[kind]() for kind in kinds))
        return text

    def _filled(self, match: Any) -> str:
        name = match[1]
        if name not in self._fill:
            return str(match[0])
        self._now.filled[name] += 1
        self._now.why[_("{name} was filled").format(name="{{" + name + "}}")] = None
        return self._fill[name]


_MASKED = {
    "keys": lambda: _("a key was masked"),
    "identity_numbers": lambda: _("an identity card number was masked"),
    "bank_cards": lambda: _("a bank card number was masked"),
    "phone_numbers": lambda: _("a phone number was masked"),
    "mail_addresses": lambda: _("a mail address was masked"),
}


class _Text:
    """What csv writes to: text into a binary file, with the mark by which Excel knows UTF-8."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        file.write(b"\xef\xbb\xbf")

    def write(self, text: str) -> int:
        return self._file.write(text.encode(errors="replace"))


def _writer(file: IO[bytes], stream: Stream) -> Any:
    """A function that writes one raw row; None for the end."""
    kind = stream.source.kind
    steps = {"json": _as_array, "table": _as_table, "text": _as_text}.get(kind, _as_lines)(file, stream)
    next(steps)

    def write(value: Any) -> None:
        try:
            steps.send(value)
        except StopIteration:
            pass

    return write


def _dumped(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a character in a column that is not read
        return json.dumps(value).encode()


def _as_lines(file: IO[bytes], _stream: Stream) -> Steps:
    while (value := (yield)) is not None:
        file.write(_dumped(value) + b"\n")


def _as_array(file: IO[bytes], _stream: Stream) -> Steps:
    before = b"[\n"
    while (value := (yield)) is not None:
        file.write(before + _dumped(value))
        before = b",\n"
    file.write(b"\n]\n")


def _as_text(file: IO[bytes], _stream: Stream) -> Steps:
    while (value := (yield)) is not None:
        file.write(value["text"].encode() + b"\n\n")


def _as_table(file: IO[bytes], stream: Stream) -> Steps:
    table = csv.writer(_Text(file))
    columns = stream.source.columns
    if stream.source.headers:  # names that we gave the columns would be read as a row
        table.writerow(columns)
    while (value := (yield)) is not None:
        table.writerow([value.get(column, "") for column in columns])
