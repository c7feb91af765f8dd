"""Rows as texts that can be searched: each on its own (`flat`, `written`), and a whole batch as one run of bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from appliance.data.rows import PARTS, Row
from appliance.data.search import Octets, Places, counts

_BEGINNING = 32  # bytes by which rows are told to begin alike
ROLE = len("user\x1e")  # before what a person wrote in most flat texts


@dataclass
class Texts:
    """The flat texts of a batch's rows in UTF-8, one behind the other. Arrays have an entry for each row."""

    whole: bytes
    starts: NDArray[np.int64]  # where each begins, and the last ends
    begins: NDArray[np.int64]  # where in each begins what a person wrote
    characters: NDArray[np.int64]  # that a model reads
    octets: NDArray[np.int64]  # the same in UTF-8
    written: Callable[[int], str]  # of one row, see below

    @cached_property
    def view(self) -> Octets:
        """All bytes as an array."""
        return np.frombuffer(self.whole, dtype=np.uint8)

    def text(self, number: int) -> str:
        """One row's."""
        return self.whole[self.starts[number] : self.starts[number + 1]].decode()

    def at(self, places: Places) -> list[int]:
        """The rows in which these places are, rising."""
        if not len(places):
            return []
        return np.unique(np.searchsorted(self.starts[1:-1], places, side="right")).tolist()  # type: ignore[no-any-return]

    def digests(self) -> NDArray[np.uint64]:
        """Eight bytes for each row: the same for the same content, in every process."""
        view, ends = memoryview(self.whole), self.starts.tolist()
        digests = (xxh3_64_intdigest(view[begin:end]) for begin, end in pairwise(ends))
        return np.fromiter(digests, np.uint64, len(ends) - 1)

    def ranks(self, digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Numbers by which rows that begin alike stand together, and in any order else."""
        left = self.starts[1:] - self.begins
        mixed = np.zeros(len(left), dtype=np.uint64)
        last = len(self.whole) - 8
        if last < 0:
            return digests
        words = np.ndarray((last + 1,), dtype="<u8", buffer=self.whole, strides=(1,))
        for place in range(0, _BEGINNING, 8):
            word = words[np.minimum(self.begins + place, last)]
            word = (word | np.uint64(0x2020202020202020)) & _FIRST[np.clip(left - place, 0, 8)]
            mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        return mixed >> np.uint64(32) << np.uint64(32) | digests >> np.uint64(32)

    def and_those(self, other: Texts) -> Texts:
        """These rows and behind them the other's."""
        size, count = len(self.whole), len(self.begins)
        first, second = self.written, other.written
        return Texts(
            self.whole + other.whole,
            np.concatenate([self.starts, other.starts[1:] + size]),
            np.concatenate([self.begins, other.begins + size]),
            np.concatenate([self.characters, other.characters]),
            np.concatenate([self.octets, other.octets]),
            lambda number: first(number) if number < count else second(number - count),
        )

    def of(self, numbers: Sequence[int] | Places) -> Texts:
        """Only these rows, in this order."""
        those, sizes, ends = np.array(numbers, dtype=np.int64), np.diff(self.starts), self.starts.tolist()
        whole = b"".join(self.whole[ends[number] : ends[number + 1]] for number in those.tolist())
        starts = _starts(sizes[those])
        begins = starts[:-1] + (self.begins - self.starts[:-1])[those]
        written = self.written
        return Texts(
            whole, starts, begins, self.characters[those], self.octets[those], lambda number: written(numbers[number])
        )


_FIRST = np.array([(1 << 8 * size) - 1 for size in range(9)], dtype=np.uint64)  # of eight bytes the first so many


def continued(whole: bytes, starts: Places) -> Places:
    """How many bytes of each text (UTF-8) go on with a character: it has so many characters less than bytes."""
    octets = np.frombuffer(whole, dtype=np.int8)
    return counts(octets < -64, starts)


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])


def texts_of(parts: Sequence[bytes], letters: Sequence[int], sizes: Sequence[int], rows: Sequence[Row]) -> Texts:
    """Of rows: their flat texts, how many characters these have, and how many of them a model reads."""
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    starts = _starts(lengths)
    characters = np.array(sizes, dtype=np.int64)
    begins = np.minimum(starts[:-1] + [_before(row) for row in rows], starts[1:]) if rows else starts[:-1]
    return Texts(
        b"".join(parts),
        starts,
        begins,
        characters,
        characters + lengths - np.array(letters, dtype=np.int64),
        lambda number: written(rows[number]),
    )


def _before(row: Row) -> int:
    """Bytes of a flat text before what a person wrote."""
    if "text" in row:
        return 0
    first = (row.get("messages") or row.get("prompt") or row.get("completion") or ({"role": "user"},))[0]
    return len(f"system\x1e{first['content']}\x1euser\x1e".encode()) if first["role"] == "system" else ROLE


def flat(row: Row) -> str:
    """A row's whole content as one text, different for different rows; equal rows give the same text."""
    return flatten(row)[0]


def flatten(row: Row) -> tuple[str, int, bool]:
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
    for part in PARTS:
        if part not in row:
            continue
        for one in row[part]:
            content = one["content"]
            size += len(content)
            pieces += (one["role"], content)
            if len(one) > 2:
                calls = _json({name: one[name] for name in one if name not in ("role", "content")})
                pieces.append(calls)
                size, more = size + len(calls), True
        pieces.append("\x1d")
    if more:
        for name in sorted(row.keys() - PARTS):
            other = _json({name: row[name]})
            pieces.append(other)
            size += len(other) if name == "tools" else 0
    return "\x1e".join(pieces), size, more


def written(row: Row) -> str:
    """What people or models wrote in a row, without roles, system messages and tools: what makes it like another."""
    if "text" in row:
        return str(row["text"])
    return "\n".join(one["content"] for part in PARTS for one in row.get(part, ()) if one["role"] != "system")


_json: Callable[[Any], str] = partial(json.dumps, ensure_ascii=False, sort_keys=True)
