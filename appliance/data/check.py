"""Is this good to train on? One pass over a file: the rows in the internal form, and the report on all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from appliance import files
from appliance.data import convert, formats
from appliance.data.notes import EXAMPLES, Note
from appliance.data.read import Source, open_source
from appliance.data.readings import questions
from appliance.data.report import REASONS, Report
from appliance.data.rows import TASKS, Row, Unusable, contents, strings
from appliance.data.stream import Stream
from appliance.data.tables import Broken
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _, marked

FEW_ROWS = 20
_LOOKED_AT = 200  # rows by which the format is recognised
_SAMPLE = 3

# "${{ … }}" belongs to code (GitHub workflows), not to a template that somebody forgot to fill.
_PLACEHOLDER = re.compile(r"(?<!\$)\{\{\s*([\w.\- ]{1,40}?)\s*\}\}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PRIVATE = {
    "keys": re.compile(
        r"\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bhf_[A-Za-z0-9]{30,}"
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    ),
    "phone_numbers": re.compile(r"(?<![\d.])(?:\+?86[- ]?)?1[3-9]\d{9}(?![\d.])"),
    "identity_numbers": re.compile(
        r"(?<!\d)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"
    ),
    "mail_addresses": re.compile(r"\b[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,3}\.[A-Za-z]{2,10}\b"),
}
_ELEVEN_DIGITS = re.compile(r"\d{11}")
_PRIVATE_SENTENCES = {
    "keys": marked("{n} rows hold what looks like a key or token: the model would learn it."),
    "phone_numbers": marked("{n} rows hold what looks like phone numbers."),
    "identity_numbers": marked("{n} rows hold what looks like identity card numbers."),
    "mail_addresses": marked("{n} rows hold mail addresses."),
}


def check(
    file: Path, *, mapping: Mapping[str, str] | None = None, task: str | None = None, sheet: str | None = None
) -> Report:
    """Read the whole file and report on it.

    mapping  our words to the file's columns ({"question": "列A"}), where headers don't say it
    task     sft | dpo | kto | pretrain; None finds out
    sheet    a spreadsheet's sheet by name or number from 1; None takes the likeliest

    Raises ApplianceError when the file is missing, empty, not readable as any format or has no usable rows;
    UsageError (a kind of it) when a name in `mapping`, `task` or `sheet` does not exist.
    """
    report, rows = _examine(file, mapping or {}, task, sheet)
    for _row in rows:
        pass
    return report


def load(
    file: Path, *, mapping: Mapping[str, str] | None = None, task: str | None = None, sheet: str | None = None
) -> Iterator[Row]:
    """The usable rows in the internal form (see `rows.py`), read as they are asked for. Raises as `check` does."""
    return _examine(file, mapping or {}, task, sheet)[1]


def write_rows(
    file: Path,
    to: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
) -> Report:
    """Check a file and write its usable rows to `to` as JSON lines in the internal form, all or nothing.

    What is written can be read with `load` again. Raises as `check` does; `to` is then left as it was.
    """
    report, rows = _examine(file, mapping or {}, task, sheet)
    with files.replacing(to) as opened:
        for row in rows:
            opened.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return report


def _examine(
    file: Path, mapping: Mapping[str, str], task: str | None, sheet: str | None
) -> tuple[Report, Iterator[Row]]:
    """The report, which is complete when the rows have been taken."""
    if task is not None and task not in TASKS:
        raise UsageError(
            _("There is no task {task} for a data file.").format(task=task),
            _("The tasks are: {tasks}").format(tasks=", ".join(TASKS)),
            _("Choose one of them with --task."),
        )
    source = open_source(file, sheet, mapping)
    sample = [record.value for record in islice(source.records(), _LOOKED_AT) if isinstance(record.value, dict)]
    if not sample:
        raise _nothing_usable(file, _only_broken(source))
    recogniser = formats.recognise(sample, source.columns, mapping, task)
    main = recogniser.main
    stream = Stream(file, source, recogniser)
    digest = files.sha256(stream.read_file)
    report = Report(str(file), digest, main.format, main.task, source.encoding, source.sheet)
    report.columns = dict(main.fields)
    report.questions = questions(stream, task)
    return report, _rows(file, source, recogniser, report)


def _only_broken(source: Source) -> list[Note]:
    dropped: dict[str, Note] = {}
    for record in source.records():
        reason = record.value.reason if isinstance(record.value, Broken) else "not_an_object"
        dropped.setdefault(reason, Note(reason, _(REASONS[reason]))).add(record.line)
    return list(dropped.values())


def _nothing_usable(file: Path, dropped: list[Note]) -> ApplianceError:
    rows = sum(note.count for note in dropped)
    return ApplianceError(
        _("{name} has no usable rows.").format(name=file.name),
        _("{n} rows were read and none can be trained on.").format(n=rows) if rows else _("There are no rows in it."),
        _("Correct the file: a column with questions and one with answers is enough."),
        [
            _("{n} rows: {reason} (line {lines})").format(
                n=note.count, reason=note.sentence, lines=", ".join(map(str, note.lines))
            )
            for note in dropped
        ],
    )


def _rows(file: Path, source: Source, recogniser: formats.Recogniser, report: Report) -> Iterator[Row]:
    dropped: dict[str, Note] = {}
    watch = _Watch(recogniser)
    seen: set[bytes] = set()
    for record in source.records():
        report.rows += 1
        try:
            row = _usable(record.value, recogniser, watch)
            content = json.dumps(row, ensure_ascii=False, sort_keys=True).encode()
            digest = blake2b(content, digest_size=8).digest()
            if digest in seen:
                raise Unusable("duplicate")
        except RecursionError:
            reason = "too_deep"
        except Unusable as unusable:
            reason = unusable.reason
        else:
            seen.add(digest)
            report.kept += 1
            report.longest_characters = max(report.longest_characters, sum(map(len, contents(row))))
            if len(report.sample) < _SAMPLE:
                report.sample.append(row)
            watch.look(record.line, row)
            yield row
            continue
        dropped.setdefault(reason, Note(reason, _(REASONS[reason]))).add(record.line)
    report.dropped = sorted(dropped.values(), key=lambda note: -note.count)
    if not report.kept:
        raise _nothing_usable(file, report.dropped)
    report.warnings = [*source.notes, *watch.warnings(report)]


def _usable(value: Any, recogniser: formats.Recogniser, watch: _Watch) -> Row:
    if isinstance(value, Broken):
        raise Unusable(value.reason)
    if not isinstance(value, dict):
        raise Unusable("not_an_object")
    layout = recogniser.layout(value)
    row = convert.convert(value, layout)
    for text in strings(row):
        if text.count("\ufffd") * 50 > len(text) or "锟斤拷锟斤拷" in text or _SURROGATE.search(text):
            raise Unusable("mojibake")
    watch.formats.add(layout.format)
    return row


def _hint(key: str, text: str) -> bool:
    """Whether the costly pattern is worth trying: it is not for most rows of a million."""
    if key == "mail_addresses":
        return "@" in text
    if key == "keys":
        return any(mark in text for mark in ("sk-", "AKIA", "gh", "hf_", "PRIVATE KEY"))
    return _ELEVEN_DIGITS.search(text) is not None


class _Watch:
    """Collects what is worth a warning about the rows that are kept."""

    def __init__(self, recogniser: formats.Recogniser):
        self.main = recogniser.main
        self.formats: set[str] = set()
        self.labels = {True: 0, False: 0}
        self.placeholders: dict[str, int] = {}
        self.notes = {key: Note(key, "") for key in ("placeholders", "some_mojibake", *_PRIVATE)}

    def look(self, line: int, row: Row) -> None:
        """One row that is kept."""
        if "label" in row:
            self.labels[row["label"]] += 1
        text = "\n".join(contents(row))
        if "{{" in text and (names := set(_PLACEHOLDER.findall(text))):
            self.notes["placeholders"].add(line)
            for name in names:
                self.placeholders[name] = self.placeholders.get(name, 0) + 1
        if "\ufffd" in text:
            self.notes["some_mojibake"].add(line)
        for key, pattern in _PRIVATE.items():
            if _hint(key, text) and pattern.search(text):
                self.notes[key].add(line)

    def warnings(self, report: Report) -> Iterator[Note]:
        """All warnings, with their sentences."""
        if self.main.guessed:
            yield Note(
                "columns_guessed",
                _("No header is known here; by what the columns hold they were taken as: {columns}").format(
                    columns=", ".join(f"{field}={column}" for field, column in self.main.fields.items())
                ),
            )
        if len(self.formats) > 1:
            yield Note(
                "mixed_formats",
                _("The rows are in several formats: {formats}").format(formats=", ".join(sorted(self.formats))),
            )
        if report.kept < FEW_ROWS and report.task != "pretrain":
            yield Note(
                "few_rows",
                _("Only {n} rows: the model will hardly learn from fewer than {few}.").format(
                    n=report.kept, few=FEW_ROWS
                ),
                report.kept,
            )
        if report.task == "kto" and min(self.labels.values()) * 20 < report.kept:
            yield Note(
                "one_sided_labels",
                _("The labels are one-sided: {good} good, {bad} bad. Both kinds are needed.").format(
                    good=self.labels[True], bad=self.labels[False]
                ),
            )
        for key, note in self.notes.items():
            if note.count:
                note.sentence = self._sentence(key).format(n=note.count, names=self._names())
                yield note

    def _names(self) -> str:
        often = sorted(self.placeholders, key=lambda name: -self.placeholders[name])
        return ", ".join("{{" + name + "}}" for name in often[: 2 * EXAMPLES])

    @staticmethod
    def _sentence(key: str) -> str:
        if key == "placeholders":
            return _("{n} rows hold placeholders that were never filled: {names}")
        if key == "some_mojibake":
            return _("{n} rows hold single damaged characters (\ufffd).")
        return _(_PRIVATE_SENTENCES[key])
