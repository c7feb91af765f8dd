"""Where something stands in a whole batch of texts: numpy is several times as quick at it as looking text by text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Octets = NDArray[np.uint8]
Places = NDArray[np.int64]

_PIECE = 1 << 18  # bytes: a piece and what is made of it stay in the processor's cache
_OVER = 64  # bytes that a piece has in common with the next one: longer than anything that is looked for

# How many bits of a byte are set, from the lowest up and from the highest down, until one is not.
_ONES_BELOW = np.array([(byte + 1 & ~byte).bit_length() - 1 for byte in range(256)])
_ONES_ABOVE = np.array([8 - (byte ^ 255).bit_length() for byte in range(256)])


def pieces(octets: Octets) -> Iterator[tuple[int, Octets]]:
    """(where it begins, a piece of the bytes); the last one ends in zeros, each is some times eight bytes long."""
    for begin in range(0, len(octets), _PIECE):
        piece = octets[begin : begin + _PIECE + _OVER]
        if len(piece) < _PIECE + _OVER:
            padded = np.zeros((len(piece) + _OVER) // 8 * 8, dtype=np.uint8)
            padded[: len(piece)] = piece
            piece = padded
        yield begin, piece


def places(found: NDArray[np.bool_]) -> Places:
    """Where it is true: np.flatnonzero without what that does first, which counts where it is called for each piece."""
    where: Places = found.nonzero()[0]
    return where


def joined(found: Iterable[Places]) -> Places:
    """Places from several searches as one array."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def count(data: bytes | bytearray, byte: bytes, end: int) -> int:
    """How often one byte stands before `end`, in a third of the time that `bytes.count` takes."""
    octets = np.frombuffer(data, dtype=np.uint8, count=end) if end else np.zeros(0, dtype=np.uint8)
    return sum(int(np.count_nonzero(octets[at : at + _PIECE] == byte[0])) for at in range(0, end, _PIECE))


def counts(found: NDArray[np.bool_], starts: Places) -> Places:
    """How many are true from each of these places to the next."""
    bits = np.packbits(found, bitorder="little")
    words = np.zeros(len(bits) // 8 + 1, dtype=np.uint64)
    words.view(np.uint8)[: len(bits)] = bits
    before = np.concatenate([[0], np.cumsum(np.bitwise_count(words), dtype=np.int64)])
    word = starts >> 6
    within = words[word] & ((np.uint64(1) << (starts & 63).astype(np.uint64)) - np.uint64(1))
    many: Places = np.diff(before[word] + np.bitwise_count(within))
    return many


def any_byte(octets: Octets, below: int, *wanted: int) -> Places:
    """The places of all bytes that are below one, or one of some."""
    found = []
    for begin in range(0, len(octets), _PIECE):
        piece = octets[begin : begin + _PIECE]
        fits = piece < below
        for byte in wanted:
            fits |= piece == byte
        found.append(begin + places(fits))
    return joined(found)


def any_of(octets: Octets, needles: Sequence[bytes]) -> Places:
    """The places where any of the needles (of two bytes or more) begins."""
    begins = np.zeros((256, 256), dtype=bool)
    begins[[needle[0] for needle in needles], [needle[1] for needle in needles]] = True
    first, *others = {needle[0] for needle in needles}
    found = []
    for begin, piece in pieces(octets):
        fits = piece == first
        for other in others:
            fits |= piece == other
        place = places(fits[:-1])
        place = place[begins[piece[place], piece[place + 1]]]
        found += [begin + _those(piece, place, needle) for needle in needles if len(place)]
    return joined(found)


def _those(octets: Octets, found: Places, needle: bytes) -> Places:
    """Those of the places where the needle stands."""
    found = found[found + len(needle) <= len(octets)]
    for offset, byte in enumerate(needle):
        found = found[octets[found + offset] == byte]
    return found


def singles(whole: bytes, octets: Octets, byte: bytes) -> Places:
    """The places of one byte, quick where there is none."""
    return places(octets == byte[0]) if byte in whole else np.zeros(0, dtype=np.int64)


def crowds(octets: Octets, fewest: int) -> Places:
    """Where so many digits stand within 14 bytes or a few more: of each such place the first eight bytes."""
    found = []
    for begin, piece in pieces(octets):
        each = np.bitwise_count(np.packbits(piece - np.uint8(48) < np.uint8(10)))
        found.append(begin + 8 * places(each[:-2] + each[1:-1] + each[2:] >= fewest))
    return joined(found)


def runs(octets: Octets, members: NDArray[np.bool_]) -> Places:
    """Places of which each lies in a run of 16 or more `members`, which are among the bytes 2D to 7F (hexadecimal)."""
    found = []
    for begin, piece in pieces(octets):
        eights = np.packbits(piece.view(np.int8) >= 0x2D)
        # Of 16 bytes in a row eight fill an aligned word.
        found.append(begin + 8 * _long(eights, places(eights == 255)))
    likely = joined(found)
    around = likely[:, None] + np.arange(-8, 16)
    inside = (around >= 0) & (around < len(octets))
    eights = np.packbits(members[octets[np.where(inside, around, 0)]] & inside, axis=1)
    return likely[_long(eights.ravel(), np.arange(1, eights.size, 3)) // 3]


def _long(eights: Octets, full: Places) -> Places:
    """Of these bytes those with all bits set that stand among 16 set bits: what is not here counts as set."""
    full = full[eights[full] == 255]
    before = np.where(full > 0, eights[full - 1], 255)
    after = np.where(full < len(eights) - 1, eights[np.minimum(full + 1, len(eights) - 1)], 255)
    long: Places = full[_ONES_BELOW[before] + _ONES_ABOVE[after] >= 8]
    return long
