"""What a batch of rows holds: everything the report needs to know, as a few small arrays.

A `Look` is called with a batch, perhaps in another process, and returns `Findings`; what depends on earlier rows
(duplicates, totals) is done by `check.Tally` with the findings of all batches, in the file's order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.data import duplicates, lengths, mojibake, private
from appliance.data.images import Images
from appliance.data.languages import language
from appliance.data.pairs import Pairs
from appliance.data.rows import Row
from appliance.data.search import places
from appliance.data.stream import Batch

# Beyond these lines of a file only some rows are asked for their language, and none is compared for near-duplicates.
NEAR_LINES = 30_000
ALL_LANGUAGES_LINES = 2_000
_SOME = 64

# "${{ … }}" belongs to code (GitHub workflows), not to a template that somebody forgot to fill.
PLACEHOLDER = re.compile(r"(?<!\$)\{\{\s*([\w.\- ]{1,40}?)\s*\}\}")
_PARTS = ("messages", "prompt", "chosen", "rejected", "completion")


@dataclass
class Findings:
    """What was found in a batch. Arrays and `notes` count the rows in `lines`: those that can be used."""

    lines: list[int]
    digests: NDArray[np.uint64]  # of a row's whole content
    characters: NDArray[np.int64]
    tokens: NDArray[np.uint32]  # about
    signatures: NDArray[np.uint32] | None  # None: too far down the file to be compared
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


@dataclass(frozen=True)
class Look:
    """Settings for looking at batches: where images stand, how many rows are kept as they are."""

    images: Images
    sample: int = 3

    def __call__(self, batch: Batch) -> Findings:
        """Look at all rows of a batch."""
        return self.usable(batch)[0]

    def of_pairs(self, pairs: Pairs) -> Findings | None:
        """The same for rows by columns; None where they must be looked at one by one."""
        if pairs.lines[0] <= NEAR_LINES:
            return None
        whole, starts = pairs.flat()
        octets = np.frombuffer(whole, dtype=np.uint8)
        if mojibake.may_hold(octets) or len(places(octets, b"{{")):
            return None
        characters, view, ends = pairs.characters(), memoryview(whole), starts.tolist()
        marks = len(flat(_EMPTY))
        digests = [blake2b(view[a:b], digest_size=8).digest() for a, b in pairwise(ends)]
        found = Findings(
            pairs.lines.tolist(),
            np.frombuffer(b"".join(digests), dtype=np.uint64),
            characters,
            lengths.rough_tokens(characters, np.diff(starts) - marks),
            None,
            [language(written(pairs.row(number))) for number in range(0, len(pairs), _SOME)],
            rows=pairs.rows,
            dropped=pairs.dropped,
            formats={pairs.layout.format},
            sample=[pairs.row(number) for number in range(min(self.sample, len(pairs)))],
        )
        for number in private.suspects_among(whole, starts):
            text = whole[starts[number] : starts[number + 1]].decode()
            for kind in sorted({kind for kind, _begin, _end in private.find(text)}):
                found.note(kind, number)
        return found

    def usable(self, batch: Batch) -> tuple[Findings, list[Row]]:
        """The findings, and the rows that they count."""
        dropped = [(reason, line) for reason, line in zip(batch.reasons, batch.lines, strict=True) if reason]
        lines: list[int] = []
        rows, texts, octets, sizes, rich = [], [], [], [], []
        for line, row in batch.usable():
            try:
                text, size, more = _flatten(row)
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
                texts.append(text)
                octets.append(data)
                sizes.append(size)
                rich.append(more)
        damaged: list[int] = []
        whole = np.frombuffer(b"\n".join(octets), dtype=np.uint8)
        if mojibake.may_hold(whole):
            shares = [mojibake.share(text) for text in texts]
            kept = [number for number, share in enumerate(shares) if share <= mojibake.TOO_MUCH]
            dropped += [("mojibake", lines[number]) for number in sorted({*range(len(lines))} - {*kept})]
            lines, rows = [lines[n] for n in kept], [rows[n] for n in kept]
            texts, octets = [texts[n] for n in kept], [octets[n] for n in kept]
            sizes, rich = [sizes[n] for n in kept], [rich[n] for n in kept]
            damaged = [place for place, number in enumerate(kept) if shares[number]]
        characters = np.array(sizes, dtype=np.int64)
        bytes_each, letters = (np.fromiter(map(len, some), np.int64, len(some)) for some in (octets, texts))
        found = Findings(
            lines,
            np.frombuffer(b"".join(blake2b(data, digest_size=8).digest() for data in octets), dtype=np.uint64),
            characters,
            lengths.rough_tokens(characters, characters + bytes_each - letters),
            duplicates.signatures([written(row) for row in rows]) if lines and lines[0] <= NEAR_LINES else None,
            list(_languages(lines, rows)),
            rows=len(batch.lines),
            dropped=sorted(dropped, key=lambda item: item[1]),
            formats=batch.formats,
            notes={"some_mojibake": damaged} if damaged else {},
            sample=rows[: self.sample],
        )
        _look_for_text(found, texts, octets, len(places(whole, b"{{")) > 0)
        _look_at_parts(found, ((number, rows[number]) for number, more in enumerate(rich) if more))
        return found, rows


def flat(row: Row) -> str:
    """A row's whole content as one text, different for different rows; equal rows give the same text."""
    return _flatten(row)[0]


def _flatten(row: Row) -> tuple[str, int, bool]:
    """(`flat`, characters that a model reads, whether there is more in it than plain messages)."""
    if "text" in row:
        return str(row["text"]), len(row["text"]), False
    pieces: list[str] = []
    size, more = 0, len(row) > 1
    if not more and "messages" in row and len(row["messages"]) == 2:  # the commonest of all
        asked, answered = row["messages"]
        if len(asked) == len(answered) == 2:
            question, answer = asked["content"], answered["content"]
            text = f"{asked['role']}\x1e{question}\x1e{answered['role']}\x1e{answer}\x1e\x1d"
            return text, len(question) + len(answer), False
    for part in _PARTS:
        if part not in row:
            continue
        for one in row[part]:
            size += len(one["content"])
            pieces += (one["role"], one["content"])
            if len(one) > 2:
                calls = _json({name: one[name] for name in one if name not in ("role", "content")})
                pieces.append(calls)
                size, more = size + len(calls), True
        pieces.append("\x1d")
    if more:
        for name in sorted(row.keys() - _PARTS):
            other = _json({name: row[name]})
            pieces.append(other)
            size += len(other) if name == "tools" else 0
    return "\x1e".join(pieces), size, more


def written(row: Row) -> str:
    """What people or models wrote in a row, without roles, system messages and tools: what makes it like another."""
    if "text" in row:
        return str(row["text"])
    return "\n".join(one["content"] for part in _PARTS for one in row.get(part, ()) if one["role"] != "system")


_EMPTY: Row = {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]}
_json: Callable[[Any], str] = partial(json.dumps, ensure_ascii=False, sort_keys=True)


def _languages(lines: list[int], rows: list[Row]) -> Iterator[str]:
    few = bool(lines) and lines[0] > ALL_LANGUAGES_LINES
    for row in rows[::_SOME] if few else rows:
        yield language(written(row))


def _look_for_text(found: Findings, texts: list[str], octets: list[bytes], braces: bool) -> None:
    """Notes on what stands in the texts: placeholders, personal data."""
    if braces:
        for number, text in enumerate(texts):
            if "{{" in text and (names := set(PLACEHOLDER.findall(text))):
                found.note("placeholders", number)
                found.placeholders[number] = names
    for number in private.suspects(octets):
        for kind in sorted({kind for kind, _begin, _end in private.find(texts[number])}):
            found.note(kind, number)


def _look_at_parts(found: Findings, rows: Iterable[tuple[int, Row]]) -> None:
    for number, row in rows:
        if row.get("label") is True:
            found.good_labels.append(number)
        if row.get("images"):
            found.images[number] = len(row["images"])
        if kind := _unlisted(row):
            found.note(kind, number)


def _unlisted(row: Row) -> str:
    """What is wrong where a row calls a tool that it does not list: a model learns to make up tools. Else ""."""
    called = {
        call["function"]["name"] for part in _PARTS for one in row.get(part, ()) for call in one.get("tool_calls", ())
    }
    if not called or not row.get("tools"):
        return "no_tools_listed" if called else ""
    return "" if called <= {tool["function"]["name"] for tool in row["tools"]} else "tool_not_listed"
