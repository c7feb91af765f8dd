"""Rows that were there before: exactly, by eight bytes a row, and nearly, by signatures that can be compared.

A signature is a MinHash (Broder 1997) over all pieces of three letters or digits, whatever stands between them: the
share of equal places in two signatures is about the share of pieces that two texts have in common. Rows are compared
where two neighbouring places are equal (bands; Leskovec et al., Mining of Massive Datasets, 3.4): not all pairs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

PLACES = 16
_EQUAL = 12  # places of two signatures that are equal where the texts are nearly the same
_PIECE = 3
_BITS = 24  # of a digest: 16 MiB of places, of which a tenth is taken after a million and a half rows
_END = 128  # characters of a text's beginning and of its end that count: long texts cost no more than short ones

# Odd numbers drawn by chance, for once and all: rows are to be grouped tomorrow as they were today.
_FACTORS = np.array([
    0x16D92689, 0xC621FBCD, 0xA791FFC1, 0x705A5661, 0x6EDA1625, 0xDBCD12C3, 0x1600888D, 0xB286B60F,
    0x339381EB, 0x181C01B5, 0x86C7538D, 0xF9C262ED, 0xBC5A4471, 0xC2DA0D2F, 0xB7AC9741, 0xC93B82A3,
], dtype=np.uint32)  # fmt: skip


@cache
def _letters() -> NDArray[np.bool_]:
    """Which characters count, up to U+FFFF."""
    return np.fromiter(map(str.isalnum, map(chr, range(0x10000))), bool, 0x10000)


class Seen:
    """Which of many 8-byte digests came before; 8 bytes each, and a table of those that may have come."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []
        self._perhaps = np.zeros(1 << _BITS, dtype=bool)

    def again(self, digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each whether it came before, in this call or in an earlier one; remembers them all."""
        again = np.zeros(len(digests), dtype=bool)
        fresh = np.sort(digests)
        if (fresh[1:] == fresh[:-1]).any():
            fresh, first = np.unique(digests, return_index=True)
            again[:] = True
            again[first] = False
        places = digests >> np.uint64(64 - _BITS)
        perhaps = np.flatnonzero(self._perhaps[places])
        self._perhaps[places] = True
        known = self._known(digests[perhaps])
        if known.any():
            again[perhaps[known]] = True
            fresh = fresh[~self._known(fresh)]
        # Runs of rising size, merged like a counter's digits: a digest is moved a few dozen times at most.
        while self._runs and len(self._runs[-1]) < 2 * len(fresh):
            fresh = np.sort(np.concatenate([self._runs.pop(), fresh]), kind="stable")
        if len(fresh):
            self._runs.append(fresh)
        return again

    def _known(self, digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
        known = np.zeros(len(digests), dtype=bool)
        for run in self._runs:
            places = np.searchsorted(run, digests)
            places[places == len(run)] = 0
            known |= run[places] == digests
        return known


def signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """One row of PLACES numbers for each text; all of them 0xFFFFFFFF for a text too short to be compared."""
    made = np.full((len(texts), PLACES), 0xFFFFFFFF, dtype=np.uint32)
    if not texts:
        return made
    parts = [(text if len(text) <= 2 * _END else text[:_END] + text[-_END:]).lower() for text in texts]
    codes = np.frombuffer("".join(parts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    owner = np.repeat(np.arange(len(parts), dtype=np.uint32), [len(part) for part in parts])
    counts = _letters()[np.minimum(codes, 0xFFFF)] | (codes > 0xFFFF)
    codes, owner = codes[counts], owner[counts]
    if len(codes) < _PIECE:
        return made
    pieces = codes[: 1 - _PIECE].copy()
    for place in range(1, _PIECE):
        pieces = pieces * np.uint32(0x01000193) + codes[place : len(codes) - _PIECE + 1 + place]
    whole = owner[: 1 - _PIECE] == owner[_PIECE - 1 :]
    pieces, owner = pieces[whole], owner[: 1 - _PIECE][whole]
    if not len(pieces):
        return made
    pieces ^= pieces >> np.uint32(15)
    pieces *= np.uint32(0x2C1B3C6D)
    pieces ^= pieces >> np.uint32(12)
    begins = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    for place, factor in enumerate(_FACTORS):
        mixed = pieces * factor
        mixed ^= mixed >> np.uint32(16)
        made[owner[begins], place] = np.minimum.reduceat(mixed, begins)
    return made


def near(signed: NDArray[np.uint32]) -> NDArray[np.int64]:
    """For each signature the number of the first one of its group of near-duplicates; its own where it has none.

    Which rows make a group depends on their order only where chains of similar rows can be cut in several ways: give
    them in an order of their own (by content) where it must not.
    """
    first = np.arange(len(signed), dtype=np.int64)
    usable = np.flatnonzero(signed.min(axis=1) != 0xFFFFFFFF) if len(signed) else first
    for place in range(0, PLACES, 2):
        keys = signed[usable, place].astype(np.uint64) << np.uint64(32) | signed[usable, place + 1]
        order = np.argsort(keys, kind="stable")
        rows, sorted_keys = usable[order], keys[order]
        same = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1]) + 1
        if not len(same):
            continue
        begins = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]))
        heads = rows[begins[np.searchsorted(begins, same, side="right") - 1]]
        for others in (heads, rows[same - 1]):
            alike = (signed[others] == signed[rows[same]]).sum(axis=1) >= _EQUAL
            for one, other in zip(rows[same][alike].tolist(), others[alike].tolist(), strict=True):
                _join(first, one, other)
    while ((roots := first[first]) != first).any():
        first = roots
    return first


def _root(first: NDArray[np.int64], number: int) -> int:
    while first[number] != number:
        first[number] = first[first[number]]
        number = int(first[number])
    return number


def _join(first: NDArray[np.int64], one: int, other: int) -> None:
    low, high = sorted((_root(first, one), _root(first, other)))
    first[high] = low
