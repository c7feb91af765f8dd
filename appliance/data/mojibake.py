"""Garbled text: bytes that were once read in the wrong encoding, and what they meant where that can still be told."""

from __future__ import annotations

import numpy as np

from appliance.data.search import Octets, Places, any_of

TOO_MUCH = 0.02  # of a text: what is left of it can't be learned from
# What common Chinese marks (，。) and Western accents and quotes become when UTF-8 is read as GB18030 or Latin-1.
_TRACES = tuple(trace.encode() for trace in ("锛", "銆", "\u00c3", "\u00e2\u20ac", "\u00e2\u0080", "锟斤拷", "\ufffd"))
_READ_AS = (("gb18030", "锛銆"), ("cp1252", "\u00c3\u00e2"), ("latin-1", "\u00c3\u00e2"))


def traces(whole: bytes, octets: Octets) -> Places:
    """Where in a batch of texts (UTF-8) something looks like it; most have none."""
    return np.zeros(0, dtype=np.int64) if whole.isascii() else any_of(octets, _TRACES)


def share(text: str) -> float:
    """How much of a text is damaged, from 0 to 1: replacement signs, and what was read in the wrong encoding."""
    if not text:
        return 0.0
    if "锟斤拷锟斤拷" in text:
        return 1.0
    lost = text.count("\ufffd")
    again = _misread(text)
    if again is not None:
        lost += max(1, len(text) - len(again.replace("\ufffd", "")))
    return min(1.0, lost / len(text))


def mended(text: str) -> str | None:
    """What a text was before it was read in the wrong encoding, where nothing of it was lost; else None."""
    found = _misread(text)
    return found if found is not None and "\ufffd" not in found else None


def _misread(text: str) -> str | None:
    """The text as its bytes read in UTF-8, where that makes sense: then they were UTF-8 all the time."""
    for encoding, marks in _READ_AS:
        if not any(mark in text for mark in marks):
            continue
        raw = text.encode(encoding, errors="replace")
        again = raw.decode("utf-8", errors="replace")
        lost = again.count("\ufffd") + max(0, raw.count(b"?") - text.count("?"))
        wide = sum(character > "\x7f" and character != "\ufffd" for character in again)
        # Bytes of another encoding are hardly ever valid UTF-8: of three, two at the most, and these by chance.
        if wide and wide > 3 * lost and len(again) < len(text) + lost:
            return again if not lost else again + "\ufffd" * ("\ufffd" not in again)
    return None
