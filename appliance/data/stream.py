"""A data file as batches of rows: what everything that looks at rows consumes, once, with constant memory.

    stream = open_stream(file, mapping=…, task=…, sheet=…)
    for batch in stream.batches():          # here, one after the other
    for found in stream.through(look):      # look(batch) for each, in the file's order; in large files on all cores

`look` turns a batch into something small: counts, digests, lines, numpy arrays. It may run in another process, so it
must pickle: a function at the top of a module, or an instance of a class at the top of a module with `__call__` and
its settings as attributes (what is costly to make, such as a tokenizer, it makes when it is first called and leaves
out of its pickle). What needs the rows before (duplicates, totals) is done with what `look` returned, in the loop
around `through`: results come in the order of the file whichever process made them. Both can be iterated again.

A batch's lists are parallel, one entry for each raw row, left out or not:

    lines     where it begins (spreadsheets: the row number), from 1
    rows      in the internal form of `rows.py`, or None when it can't be used
    reasons   "" or why not: one of `report.REASONS`
    raw       as it was read, before conversion: a dictionary, or anything else where a row is broken

A `look` may also have a method `of_columns`: the plainest of large files come to it by columns (`pairs.py`,
`talks.py`), with a batch of those rows of the block that are not plain.

`rows.digest(row)` is a row's content as 8 bytes: the same content gives the same bytes in every process and every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from appliance import files
from appliance.data import convert, formats, pairs, talks, workers
from appliance.data.blocks import Block, Text, in_order
from appliance.data.columns import Columns
from appliance.data.gathered import gathered
from appliance.data.images import Images
from appliance.data.parse import Lines, Parser
from appliance.data.read import Source, open_source
from appliance.data.rows import Row, Unusable
from appliance.data.tables import Broken

BATCH = 512  # rows, where the file does not come in blocks
_SMALL = 8 << 20  # bytes: all rows of such a file can be compared with each other
_MISSES = 4  # blocks
_LOOKED_AT = 200  # rows by which the format is recognised

T = TypeVar("T")


@dataclass
class Batch:
    """Some rows of a file, in its order; see the module's text."""

    lines: list[int] = field(default_factory=list)
    rows: list[Row | None] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    raw: list[Any] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)  # of the rows that can be used
    share: float = 1.0  # of the file, as far as that is known

    def usable(self) -> Iterator[tuple[int, Row]]:
        """(line, row) of those that can be used."""
        return ((line, row) for line, row in zip(self.lines, self.rows, strict=True) if row is not None)


@dataclass
class Stream:
    """An open file, whose format is known. `source` says what it is, `recogniser.main` how its rows are read."""

    file: Path
    source: Source
    recogniser: formats.Recogniser

    def sha256(self) -> str:
        """The file's checksum; a folder's is that of its data file, or of the captions in it."""
        if not self.file.is_dir():
            return files.sha256(self.file)
        inside = self.source.inside
        if inside and inside.data:
            return files.sha256(inside.data)
        rows = [record.value for record in self.source.records()]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> Images:
        """The images that rows name."""
        return self.source.images or Images(self.file.parent)

    def batches(self) -> Iterator[Batch]:
        """All rows of the file in batches, read as they are asked for."""
        text, parser = self.source.text, self.source.parser
        if text and parser:
            do = _Block(text, parser, self.recogniser, _same, text.known_size, False)
            yield from in_order(text, text.blocks(parser.quoted), do, None)
            return
        records, number = self.source.records(), 0
        while some := list(islice(records, BATCH)):
            number += 1
            batch = batch_of([one.line for one in some], [one.value for one in some], self.recogniser)
            batch.share = 1 / number
            yield batch

    def through(self, look: Callable[[Batch], T], helpers: workers.Workers | None = None) -> Iterator[T]:
        """look(batch) for all batches, in order. `helpers`: the processes to use, where they are started already."""
        text, parser = self.source.text, self.source.parser
        number = workers.wanted(text.file) if text and parser else 0
        if not (text and parser and number):
            yield from map(look, self.batches())
            return
        do = _Block(text, parser, self.recogniser, look, text.known_size, hasattr(look, "of_columns"))
        with nullcontext(helpers) if helpers else workers.Workers(number) as ready:
            yield from in_order(text, text.blocks(parser.quoted), do, ready.given(do, text.plain))


@dataclass
class _Block:
    """What is done with a block; pickles."""

    text: Text
    parser: Parser
    recogniser: formats.Recogniser
    look: Callable[[Batch], Any]
    size: int  # of the file, as far as it is known
    plain: bool  # whether `look` takes rows by columns
    missed: int = 0  # blocks in a row that were not plain

    def __call__(self, block: Block) -> Any:
        data = self.text.read(block)
        if self.plain and (columns := self._columns(data, block)) is not None:
            rest = batch_of(*columns.rest, self.recogniser)
            rest.share = self._share(block)
            return self.look.of_columns(columns, rest)  # type: ignore[attr-defined]
        parsed = self.parser(data, block)
        if parsed is None:
            return None
        batch = batch_of(*parsed, self.recogniser)
        batch.share = self._share(block)
        return self.look(batch)

    def _columns(self, data: bytes, block: Block) -> Columns | None:
        """The block by columns; where that has not worked for some blocks, it is not tried any more."""
        if self.missed == _MISSES or self.recogniser.restates:
            return None
        if isinstance(self.parser, Lines):
            found = talks.talks_of(data, block, self.recogniser)
        else:
            found = pairs.pairs_of(data, block, self.parser, self.recogniser)
        self.missed = 0 if found else self.missed + 1
        return found

    def _share(self, block: Block) -> float:
        whole = max(self.size, block.start + block.size)
        return block.size / whole if whole > _SMALL else 1.0


def _same(batch: Batch) -> Batch:
    return batch


def open_stream(
    file: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    task: str | None = None,
    sheet: str | None = None,
    quick: bool = False,
) -> Stream:
    """Find out what a file is and how its rows are to be read.

    `quick` leaves out a pass over the file: one that begins as UTF-8 is taken for it, and what is read from the stream
    ends in a UnicodeError where that was wrong. Open it then again without.

    Raises ApplianceError when it is missing, empty, not readable or not understood; UsageError for a name in `mapping`
    or `sheet` that does not exist. A file in which nothing is a row opens: all of its rows come with their reasons.
    """
    said = dict(mapping or {})
    source = open_source(file, sheet, said, quick)
    first = [record.value for record in islice(source.records(), _LOOKED_AT)]
    if said.keys() <= {"assistant"} and (turns := gathered(source, first, said.get("assistant"))) is not source:
        source, first = turns, [record.value for record in islice(turns.records(), _LOOKED_AT)]
    if source.answering:
        said.pop("assistant", None)
    sample = [value for value in first if isinstance(value, dict)]
    if not sample:
        return Stream(file, source, formats.Recogniser(convert.Layout("question_answer", "sft", {}), {}, False))
    return Stream(file, source, formats.recognise(sample, source.columns, said, task))


def batch_of(lines: list[int], raw: list[Any], recogniser: formats.Recogniser) -> Batch:
    """Raw rows in the internal form, or with the reason why they are in none."""
    rows: list[Row | None] = []
    reasons = [""] * len(raw)
    names: set[str] = set()
    layout_of, into = recogniser.layout, convert.convert
    for number, value in enumerate(raw):
        row = None
        try:
            if isinstance(value, dict):
                if recogniser.restates:
                    value = recogniser.restated(value)
                layout = layout_of(value)
                row = into(value, layout)
                names.add(layout.format)
            else:
                reasons[number] = value.reason if isinstance(value, Broken) else "not_an_object"
        except Unusable as unusable:
            reasons[number] = unusable.reason
        except RecursionError:
            reasons[number] = "too_deep"
        rows.append(row)
    return Batch(lines, rows, reasons, raw, names)
