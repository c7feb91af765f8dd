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

    All or nothing: when anything fails, or power does, neither file is there. Raises as `check` does, and
    ApplianceError where `to` is taken.
    """
    from appliance.data.look import Look
    from appliance.data.stream import batch_of
    from appliance.data.tables import Record
    from appliance.data.tally import SAMPLE, open_tally

    stream, tally = open_tally(file, mapping=mapping, task=task, sheet=sheet)
    target = _target(file, to, _ENDINGS.get(stream.source.kind, ".jsonl"))
    cleaned = Cleaned(tally.report, target, target.with_name(f"{target.stem}-changes.csv"))
    _refuse_taken(cleaned.changes)
    look, better = Look(stream.images, SAMPLE), _Better(mask, fill or {}, cleaned)
    with ExitStack() as stack:
        # The copy takes its place last: where it stands, its list does.
        writer = _writer(stack.enter_context(files.replacing(target)), stream)
        log = csv.writer(_Text(stack.enter_context(files.replacing(cleaned.changes))))
        log.writerow([_("line"), _("what"), _("why")])
        for batch in stream.batches():
            changes = [better(value) for value in batch.raw]
            records = [Record(line, value) for line, (value, _why) in zip(batch.lines, changes, strict=True)]
            again = batch_of(batch.lines, [record.value for record in records], stream.recogniser)
            found, _rows = look.usable(again)
            keep = tally.add(found)
            reasons = _reasons(again, found.dropped, found.lines, keep)
            for record, (_value, why) in zip(records, changes, strict=True):
                if record.line in reasons:
                    log.writerow([record.line, _("left out"), reasons[record.line]])
                    continue
                if why:
                    log.writerow([record.line, _("changed"), "; ".join(why)])
                    cleaned.changed += 1
                writer(record.value)
        tally.finished()
        writer(None)
    return cleaned


def _reasons(batch: Batch, dropped: list[tuple[str, int]], lines: list[int], keep: Any) -> dict[int, str]:
    """Line -> why the row there is left out."""
    from appliance.data.report import REASONS

    found = {line: _(REASONS[reason]) for reason, line in dropped}
    twice = REASONS["duplicate"]
    found.update({line: _(twice) for line, kept in zip(lines, keep, strict=True) if not kept})
    return found


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


class _Better:
    """Mends, fills and masks every text of a raw row."""

    def __init__(self, mask: bool, fill: Mapping[str, str], counts: Cleaned):
        from appliance.data import look, mojibake, private

        self._mask, self._fill, self._counts = mask, fill, counts
        self._mended, self._masked, self._placeholder = mojibake.mended, private.masked, look.PLACEHOLDER
        self._why: dict[str, None] = {}

    def __call__(self, value: Any) -> tuple[Any, list[str]]:
        """The raw row as it should be, and what was done to it, in words."""
        from appliance.data.tables import Broken

        self._why = {}
        try:
            value = self._inner(value)
            json.dumps(value)
        except RecursionError:
            return Broken("too_deep"), []
        except TypeError:  # broken already
            return value, []
        return value, list(self._why)

    def _inner(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._inner(one) for one in value]
        if isinstance(value, dict):
            return {key: one if key in _LEFT_ALONE else self._inner(one) for key, one in value.items()}
        return value

    def _text(self, text: str) -> str:
        if not text.isascii() and (better := self._mended(text)) is not None:
            text = better
            self._counts.mended += 1
            self._why[_("garbled text was mended")] = None
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
            self._counts.masked.update(kinds)
            self._why.update(dict.fromkeys(_MASKED[kind]() for kind in kinds))
        return text

    def _filled(self, match: Any) -> str:
        name = match[1]
        if name not in self._fill:
            return str(match[0])
        self._counts.filled[name] += 1
        self._why[_("{name} was filled").format(name="{{" + name + "}}")] = None
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
    table.writerow(columns)
    while (value := (yield)) is not None:
        table.writerow([value.get(column, "") for column in columns])
