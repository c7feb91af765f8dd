"""Garbled text: bytes that were once read in the wrong encoding, and what they meant where that can still be told."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
# What the commonest Chinese marks (，。) and Western accents and quotes become when UTF-8 is read as GB18030 or Latin-1.
_TRACES = ("锛", "銆", "\u00c3", "\u00e2\u20ac", "锟斤拷", "\ufffd")
_TRACE_BYTES = tuple(trace.encode() for trace in _TRACES)
_READ_AS = (("gb18030", "锛銆"), ("cp1252", "\u00c3\u00e2"), ("latin-1", "\u00c3\u00e2"))


def may_hold(whole: bytes) -> bool:
    """Whether a batch of texts (UTF-8) has any trace of it; most have none."""
    return not whole.isascii() and any(trace in whole for trace in _TRACE_BYTES)


def is_garbled(text: str) -> bool:
    """Whether a text can't be learned from: replacement signs all over, halves of characters, or read wrongly."""
    if _SURROGATE.search(text) or text.count("\ufffd") * 50 > len(text) or "锟斤拷锟斤拷" in text:
        return True
    return _misread(text) is not None


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
