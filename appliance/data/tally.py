"""The findings of all batches added up to the report on a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.data import duplicates, languages
from appliance.data.look import COMPARED, Findings, Look
from appliance.data.notes import Note
from appliance.data.readings import questions
from appliance.data.report import READ_AS, REASONS, WARNINGS, Report
from appliance.data.rows import TASKS, Row
from appliance.data.stream import Stream, open_stream
from appliance.data.tokens import Counting
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

FEW_ROWS = 20
SAMPLE = 3
_NAMES_SHOWN = 10


def kept_rows(stream: Stream, tally: Tally, counting: Counting | None = None) -> Iterator[tuple[int, Row]]:
    """(line, row) of every usable row; the tally's report is finished when they have been taken."""
    look = Look(stream.images, SAMPLE)
    for batch in stream.batches():
        found, rows = look.usable(batch)
        for number in np.flatnonzero(tally.add(found)):
            yield found.lines[number], rows[number]
    tally.finished(counting)


def open_tally(
    file: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
    length: int | None = None,
    quick: bool = False,
) -> tuple[Stream, Tally]:
    """A file's stream and an empty tally for it; `quick` as in `open_stream`. Raises as `check` does."""
    if task is not None and task not in TASKS:
        raise UsageError(
            _("There is no task {task} for a data file.").format(task=task),
            _("The tasks are: {tasks}").format(tasks=", ".join(TASKS)),
            _("Choose one of them with --task."),
        )
    stream = open_stream(file, mapping=mapping, task=task, sheet=sheet, quick=quick)
    return stream, Tally(stream, task, length)


class _Compared:
    """The rows that are compared with each other: those of the lowest ranks, of all that the batches send."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint32]]] = []
        self._count = 0

    def add(self, found: Findings, keep: NDArray[np.bool_]) -> None:
        """Those of a batch, unless they were left out."""
        some = found.compared
        kept = keep[some.numbers]
        numbers = some.numbers[kept]
        lines = np.array([found.lines[number] for number in numbers.tolist()], dtype=np.int64)
        self._parts.append((lines, some.ranks[kept], some.signatures[kept]))
        self._count += len(numbers)
        if self._count > 2 * COMPARED:
            self._cut()

    def _cut(self) -> None:
        lines, ranks, signatures = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        if len(lines) > COMPARED:
            lowest = np.sort(np.argpartition(ranks, COMPARED)[:COMPARED])
            lines, ranks, signatures = lines[lowest], ranks[lowest], signatures[lowest]
        self._parts, self._count = [(lines, ranks, signatures)], len(lines)

    def all(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Their lines, rising, and signatures."""
        self._cut()
        ((lines, _ranks, signatures),) = self._parts
        return lines, signatures


class Tally:
    """Adds up the findings of all batches, in the file's order."""

    def __init__(self, stream: Stream, task: str | None = None, length: int | None = None):
        source, main = stream.source, stream.recogniser.main
        self.stream = stream
        self.report = Report(str(stream.file), main.format, main.task, source.encoding, source.sheet)
        self.report.columns = dict(main.fields)
        self.report.columns_unread = stream.recogniser.unread
        self.report.read_as = _(READ_AS[stream.recogniser.composed]) if stream.recogniser.composed else ""
        self.report.questions = questions(stream, task)
        self.report.length = length
        self._seen = duplicates.Seen()
        self._dropped: dict[str, Note] = {}
        self._notes = {kind: Note(kind, "") for kind in WARNINGS}
        self._placeholders: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._formats: set[str] = set()
        self._good = 0
        self._over = 0
        self._compared = _Compared()

    def add(self, found: Findings) -> NDArray[np.bool_]:
        """One batch; which of its usable rows are kept: those that were not there before."""
        report = self.report
        keep = ~self._seen.again(found.digests)
        again = [("duplicate", found.lines[number]) for number in np.flatnonzero(~keep)]
        for reason, line in sorted(found.dropped + again, key=lambda item: item[1]):
            self._dropped.setdefault(reason, Note(reason, _(REASONS[reason]))).add(line)
        report.rows += found.rows
        report.kept += int(keep.sum())
        for kind, numbers in found.notes.items():
            for number in numbers:
                if keep[number]:
                    self._notes[kind].add(found.lines[number])
        for number, names in found.placeholders.items():
            self._placeholders.update(sorted(names) if keep[number] else ())
        self._good += sum(bool(keep[number]) for number in found.good_labels)
        report.images += sum(count for number, count in found.images.items() if keep[number])
        self._languages.update(found.languages)
        self._formats |= found.formats
        report.languages_sampled |= len(found.languages) < len(found.lines)
        self._compared.add(found, keep)
        if keep.any():
            report.longest_characters = max(report.longest_characters, int(found.characters[keep].max()))
            report.lengths.frombytes(found.tokens[keep].tobytes())
            if report.length is not None:
                over = found.tokens.astype(np.int64) - report.length
                self._over = max(self._over, int(over[keep].max()))
                for place in np.flatnonzero((over > 0) & keep):
                    self._notes["too_long"].add(found.lines[place])
        if len(report.sample) < SAMPLE:
            report.sample += [row for row, kept in zip(found.sample, keep, strict=False) if kept]
            del report.sample[SAMPLE:]
        return keep

    def finished(self, counting: Counting | None = None) -> Report:
        """The report. Raises ApplianceError where no row can be used."""
        report = self.report
        report.dropped = sorted(self._dropped.values(), key=lambda note: -note.count)
        if not report.kept:
            raise _nothing_usable(self.stream.file, report.dropped)
        report.languages = languages.shares(self._languages)
        lines, signatures = self._compared.all()
        report.compared = len(lines)
        first = duplicates.near(signatures)
        for number in np.flatnonzero(first != np.arange(len(first))):
            self._notes["near_duplicates"].add(int(lines[number]), like=int(lines[first[number]]))
        if counting is not None:
            counted = counting.answer()
            report.lengths, report.rough, self._over = counted.lengths, False, counted.over
            self._notes["too_long"], self._notes["template_refuses"] = counted.too_long, counted.refused
        report.warnings = [*self.stream.source.notes, *self._general(), *self._noted()]
        return report

    def _general(self) -> Iterator[Note]:
        report, main = self.report, self.stream.recogniser.main
        if main.guessed:
            sentence = _("No header is known here; by what the columns hold they were taken as: {columns}")
            columns = ", ".join(f"{field}={column}" for field, column in main.fields.items())
            asked = [question.sentence for question in report.questions if question.key == "columns"]
            yield Note("columns_guessed", asked[0] if asked else sentence.format(columns=columns))
        for question in report.questions:  # whoever is not asked should know as what it was taken
            if not (main.guessed and question.key == "columns"):
                yield Note(f"{question.key}_unsure", question.sentence)
        if "thought" in main.fields:
            sentence = _(
                "The column {column} holds thoughts: each stands in <think> before its answer. "
                "Without them: --map question={question} --map answer={answer}"
            )
            yield Note("thoughts", sentence.format(**_named(main.fields)))
        if self.stream.recogniser.several_answers:
            yield Note("several_answers", _("Some rows have several answers: the first of each is learned."))
        if (main.guessed or self.stream.recogniser.composed == "two_texts") and _numbers_answer(report.sample):
            sentence = _(
                "The answers are bare numbers: a model learns to say them. Write there in words what they mean."
            )
            yield Note("numbers_as_answers", sentence)
        if len(self._formats) > 1:
            sentence = _("The rows are in several formats: {formats}")
            yield Note("mixed_formats", sentence.format(formats=", ".join(sorted(self._formats))))
        if report.kept < FEW_ROWS and report.task != "pretrain":
            sentence = _("Only {n} rows: the model will hardly learn from fewer than {few}.")
            yield Note("few_rows", sentence.format(n=report.kept, few=FEW_ROWS), report.kept)
        bad = report.kept - self._good
        if report.task == "kto" and min(self._good, bad) * 20 < report.kept:
            sentence = _("The labels are one-sided: {good} good, {bad} bad. Both kinds are needed.")
            yield Note("one_sided_labels", sentence.format(good=self._good, bad=bad))

    def _noted(self) -> Iterator[Note]:
        often = [name for name, _count in self._placeholders.most_common(_NAMES_SHOWN)]
        for kind, note in self._notes.items():
            if note.count:
                note.sentence = _(WARNINGS[kind]).format(
                    n=note.count,
                    names=", ".join("{{" + name + "}}" for name in often),
                    length=self.report.length,
                    over=self._over,
                    why=note.sentence,
                )
                if kind == "near_duplicates" and self.report.compared < self.report.kept:
                    note.sentence += " " + _("(among {n} rows from all over the file)").format(n=self.report.compared)
                yield note
        self.report.placeholders = dict(self._placeholders.most_common())


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    """The columns of a thought and of what stands around it."""
    turns = fields.get("turns", "…")
    return {
        "column": fields["thought"],
        "question": fields.get("question", turns),
        "answer": fields.get("answer", turns),
    }


def _numbers_answer(sample: list[Row]) -> bool:
    answers = [row["messages"][-1]["content"] for row in sample if "messages" in row]
    return bool(answers) and all(answer.strip().lstrip("-").isdigit() for answer in answers)


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
