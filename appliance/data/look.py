"""What a batch of rows holds: everything the report needs to know, as a few small arrays.

A `Look` is called with a batch, perhaps in another process, and returns `Findings`; what depends on earlier rows
(duplicates, totals) is done by `tally.Tally` with the findings of all batches, in the file's order.

A batch is searched as one run of bytes for what damaged texts, placeholders and personal data can't do without; only
the rows in which that stands are looked at one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appliance.data import duplicates, lengths, mojibake, private
from appliance.data.columns import Columns
from appliance.data.images import Images
from appliance.data.languages import language
from appliance.data.rows import PARTS, Row
from appliance.data.search import any_of, joined
from appliance.data.stream import Batch
from appliance.data.texts import Texts, flatten, texts_of

# Rows that are compared for near-duplicates, wherever they stand in the file.
COMPARED = 30_000
_MORE = 1.2  # times as many are looked at: how many there are is known only at the end
# Beyond these lines of a file only some rows are asked for their language.
ALL_LANGUAGES_LINES = 2_000
_SOME = 256

# "${{ … }}" belongs to code (GitHub workflows), not to a template that somebody forgot to fill.
PLACEHOLDER = re.compile(r"(?<!\$)\{\{\s*([\w.\- ]{1,40}?)\s*\}\}")


@dataclass
class Compared:
    """Rows that are compared with others: their numbers in the batch, by what they are chosen, and signatures."""

    numbers: NDArray[np.int64]
    ranks: NDArray[np.uint64]
    signatures: NDArray[np.uint32]


@dataclass
class Findings:
    """What was found in a batch. Arrays and `notes` count the rows in `lines`: those that can be used."""

    lines: list[int]
    digests: NDArray[np.uint64]  # of a row's whole content
    characters: NDArray[np.int64]
    tokens: NDArray[np.uint32]  # about
    compared: Compared
    languages: list[str]
    rows: int = 0  # all of the batch, those left out too
    dropped: list[tuple[str, int]] = field(default_factory=list)  # (reason, line)
    notes: dict[str, list[int]] = field(default_factory=dict)  # kind -> numbers of the rows that have it
    placeholders: dict[int, set[str]] = field(default_factory=dict)
    good_labels: list[int] = field(default_factory=list)  # numbers of the rows that are marked as good
    formats: set[str] = field(default_factory=set)
    sample: list[Row] = field(default_factory=list)
    images: dict[int, int] = field(default_factory=dict)  # numbers of the rows that show some -> how many

    def note(self, kind: str, number: int) -> None:
        """One row has this, said once."""
        numbers = self.notes.setdefault(kind, [])
        if not numbers or numbers[-1] != number:
            numbers.append(number)


@dataclass
class _Gathered:
    """Rows with their lines and texts, whether there is more in each than plain messages; what was left out, and why"""

    lines: list[int]
    rows: list[Row]
    texts: Texts
    rich: list[bool]
    dropped: list[tuple[str, int]]


@dataclass(frozen=True)
class Look:
    """Settings for looking at batches: where images stand, how many rows are kept as they are."""

    images: Images
    sample: int = 3

    def __call__(self, batch: Batch) -> Findings:
        """Look at all rows of a batch."""
        return self.usable(batch)[0]

    def of_columns(self, columns: Columns, rest: Batch) -> Findings:
        """The same for rows by columns, and a batch of those of the same block that are not."""
        some = self._gathered(rest)
        lines, texts, plain = columns.lines, columns.texts, len(columns.lines)
        order = np.arange(plain + len(some.lines))
        if some.lines:
            lines = np.concatenate([lines, some.lines])
            order = np.argsort(lines, kind="stable")
            lines, texts = lines[order], texts.and_those(some.texts).of(order)
        found, kept = _findings(lines.tolist(), texts, rest.share, some.dropped)
        numbers = order[kept].tolist()
        found.rows, found.formats = plain + len(rest.lines), {columns.format} | rest.formats
        found.sample = [
            columns.row(number) if number < plain else some.rows[number - plain] for number in numbers[: self.sample]
        ]
        if any(some.rich):
            others = ((at, number - plain) for at, number in enumerate(numbers) if number >= plain)
            _look_at_parts(found, ((at, some.rows[number]) for at, number in others if some.rich[number]))
        return found

    def usable(self, batch: Batch) -> tuple[Findings, list[Row]]:
        """The findings, and the rows that they count."""
        some = self._gathered(batch)
        rows, rich = some.rows, some.rich
        found, kept = _findings(some.lines, some.texts, batch.share, some.dropped)
        if len(kept) < len(rows):
            rows, rich = [rows[number] for number in kept], [rich[number] for number in kept]
        found.rows, found.formats, found.sample = len(batch.lines), batch.formats, rows[: self.sample]
        _look_at_parts(found, ((number, rows[number]) for number, more in enumerate(rich) if more))
        return found, rows

    def _gathered(self, batch: Batch) -> _Gathered:
        """The rows of a batch that can be used."""
        dropped = [(reason, line) for reason, line in zip(batch.reasons, batch.lines, strict=True) if reason]
        lines: list[int] = []
        rows, octets, letters, sizes, rich = [], [], [], [], []
        for line, row in batch.usable():
            try:
                text, size, more = flatten(row)
                data = text.encode()
            except RecursionError:
                dropped.append(("too_deep", line))
            except UnicodeEncodeError:  # half of a character
                dropped.append(("mojibake", line))
            else:
                if "images" in row and (problem := self.images.problem(row)):
                    dropped.append((problem, line))
                    continue
                lines.append(line)
                rows.append(row)
                octets.append(data)
                letters.append(len(text))
                sizes.append(size)
                rich.append(more)
        return _Gathered(lines, rows, texts_of(octets, letters, sizes, rows), rich, dropped)


def _findings(
    lines: list[int], texts: Texts, share: float, dropped: list[tuple[str, int]]
) -> tuple[Findings, list[int] | range]:
    """What was found in texts that stand at these lines, and which of the rows it counts: those that are no garble."""
    kept: list[int] | range = range(len(lines))
    damage = {n: mojibake.share(texts.text(n)) for n in texts.at(mojibake.traces(texts.whole, texts.view))}
    if garbled := {number for number, much in damage.items() if much > mojibake.TOO_MUCH}:
        dropped = dropped + [("mojibake", lines[number]) for number in sorted(garbled)]
        kept = [number for number in kept if number not in garbled]
        lines, texts = [lines[number] for number in kept], texts.of(kept)
    digests = texts.digests()
    found = Findings(
        lines,
        digests,
        texts.characters,
        lengths.rough_tokens(texts.characters, texts.octets),
        _compared(texts, digests, share),
        [language(texts.written(number)) for number in range(0, len(lines), _step(lines))],
        dropped=sorted(dropped, key=lambda item: item[1]),
    )
    for number, before in enumerate(kept) if any(damage.values()) else ():
        if damage.get(before):
            found.note("some_mojibake", number)
    _look_for_text(found, texts)
    return found, kept


def _compared(texts: Texts, digests: NDArray[np.uint64], share: float) -> Compared:
    """As many of the rows as this `share` of the file may send, where they are too many: those of low rank."""
    ranks = texts.ranks(digests)
    numbers = np.arange(len(ranks))
    wanted = math.ceil(_MORE * COMPARED * share)
    if wanted < len(ranks):
        numbers = np.sort(np.argpartition(ranks, wanted)[:wanted])
    signatures = duplicates.signatures([texts.written(number) for number in numbers.tolist()])
    return Compared(numbers, ranks[numbers], signatures)


def _step(lines: list[int]) -> int:
    return _SOME if lines and lines[0] > ALL_LANGUAGES_LINES else 1


def _look_for_text(found: Findings, texts: Texts) -> None:
    """Notes on what stands in the texts: placeholders, personal data."""
    braces = any_of(texts.view, [b"{{"]) if b"{" in texts.whole else joined(())
    for number in texts.at(braces):
        if names := set(PLACEHOLDER.findall(texts.text(number))):
            found.note("placeholders", number)
            found.placeholders[number] = names
    for number in texts.at(private.suspects(texts.whole, texts.view)):
        for kind in sorted({kind for kind, _begin, _end in private.find(texts.text(number))}):
            found.note(kind, number)


def _look_at_parts(found: Findings, rows: Iterable[tuple[int, Row]]) -> None:
    for number, row in rows:
        if row.get("label") is True:
            found.good_labels.append(number)
        if row.get("images"):
            found.images[number] = len(row["images"])
        if kind := _unlisted(row):
            found.note(kind, number)
        if any(one.get("weight") == 0 for part in PARTS for one in row.get(part, ())):
            found.note("only_read", number)


def _unlisted(row: Row) -> str:
    """What is wrong where a row calls a tool that it does not list: a model learns to make up tools. Else ""."""
    called = {
        call["function"]["name"] for part in PARTS for one in row.get(part, ()) for call in one.get("tool_calls", ())
    }
    if not called or not row.get("tools"):
        return "no_tools_listed" if called else ""
    return "" if called <= {tool["function"]["name"] for tool in row["tools"]} else "tool_not_listed"
