"""Which encoding a text file is in: marks first, then a strict order of tries, then charset-normalizer's opinion."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from appliance.data.notes import Note
from appliance.errors import ApplianceError
from appliance.locale import _

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 20


def detect(file: Path, head: bytes, open_bytes: Callable[[], IO[bytes]], quick: bool = False) -> tuple[str, list[Note]]:
    """The encoding's name, and a warning when the file holds damaged bytes (read it then with errors="replace").

    `quick`: where the file's beginning is UTF-8 the rest is not looked at.

    Excel in China saves CSV as GB18030, which decodes almost anything: so UTF-8 is tried first, on the whole file.
    Raises ApplianceError for what is no text.
    """
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    candidate = marked or _wide(head) or "utf-8"
    if candidate == "utf-8" and b"\0" in head:
        raise _no_text(file)
    if quick and candidate in ("utf-8", "utf-8-sig") and _begins(head, candidate):
        return candidate, []
    if _decodes(open_bytes, candidate):
        return candidate, []
    good, bad = _tally(open_bytes, candidate)
    if not bad:
        return candidate, []
    # A UTF-8 file with a few damaged places is still UTF-8: GB18030 read as UTF-8 is nearly all damage.
    if marked or candidate != "utf-8" or good > 10 * bad:
        if bad > good:
            raise _no_text(file)
        return candidate, [_damaged(bad)]
    for name in ("gb18030", *_guesses(head)):
        good, bad = _tally(open_bytes, name)
        if not bad and (name != "gb18030" or _common_chinese(head)):
            return name, []
    good, bad = _tally(open_bytes, "gb18030")
    if _common_chinese(head) and good > 10 * bad:
        return "gb18030", [_damaged(bad)]
    raise _no_text(file)


def _damaged(places: int) -> Note:
    return Note(
        "damaged_text",
        _("{n} places in the file are damaged: bytes that belong to no character.").format(n=places),
        places,
    )


def _no_text(file: Path) -> ApplianceError:
    return ApplianceError(
        _("{name} can't be read as text.").format(name=file.name),
        _("Its bytes belong to no encoding that is known here (UTF-8, UTF-16, GB18030 and others were tried)."),
        _("Open it in the program that made it and save it as UTF-8."),
    )


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: in ASCII and line ends every second byte is zero, always on the same side."""
    sample = head[:4096]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if not even and not odd:
        return None
    if max(even, odd) * 20 >= len(sample) and min(even, odd) * 10 <= max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    # Chinese with little else: the characters tell.
    shares = {name: _readable(sample, name) for name in ("utf-16-le", "utf-16-be")}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.9 else None


def _readable(sample: bytes, encoding: str) -> float:
    """Which share of the characters is ASCII, or Chinese as people write it."""
    text = sample[: len(sample) // 2 * 2].decode(encoding, errors="replace")
    plain = sum(c.isprintable() if c < "\x7f" else _is_chinese(c) for c in text.replace("\r", "").replace("\n", ""))
    return plain / max(1, len(text) - text.count("\r") - text.count("\n"))


def _is_chinese(c: str) -> bool:
    return (
        "\u4e00" <= c <= "\u9fa5" or "\u2010" <= c <= "\u2026" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef"
    )


def _begins(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        return False
    return True


def _decodes(open_bytes: Callable[[], IO[bytes]], encoding: str) -> bool:
    """Whether the whole file is text in this encoding: the quick way, for files that are as they should be."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with open_bytes() as opened:
            while block := opened.read(_BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except (UnicodeError, OSError, EOFError, zlib.error):
        return False  # `_tally` tells why
    return True


def _tally(open_bytes: Callable[[], IO[bytes]], encoding: str) -> tuple[int, int]:
    """(characters beyond ASCII, damaged places) in the whole file, read block by block."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    good = bad = 0
    try:
        with open_bytes() as opened:
            while block := opened.read(_BLOCK):
                text = decoder.decode(block)
                bad += text.count("\ufffd") - _written_out(block, encoding)
                good += 0 if text.isascii() else len(text) - len(text.encode("ascii", errors="ignore"))
            bad += decoder.decode(b"", final=True).count("\ufffd")
    except UnicodeError:
        return 0, 1
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ApplianceError(
            _("The archive can't be unpacked."),
            _("The gz archive is damaged or incomplete: {error}").format(error=error),
            _("Copy or download it again."),
        ) from error
    return good - bad, max(0, bad)


def _written_out(block: bytes, encoding: str) -> int:
    """U+FFFD that stand in the file itself: damage done earlier, which is not the encoding's fault."""
    return block.count("\ufffd".encode()) if encoding.startswith("utf-8") else 0


def _common_chinese(head: bytes) -> bool:
    """Whether text read as GB18030 is Chinese as people write it: most of it in GB2312's range, or ASCII."""
    wide = [c for c in head.decode("gb18030", errors="ignore") if c > "\x7f"]
    common = sum(1 for c in wide if _is_chinese(c))
    in_gb2312 = sum(1 for c in wide if _fits(c, "gb2312"))
    return bool(wide) and common * 10 >= len(wide) * 7 and in_gb2312 * 10 >= len(wide) * 8


def _fits(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeError:
        return False
    return True


def _guesses(head: bytes) -> list[str]:
    from charset_normalizer import from_bytes

    matches = from_bytes(head[:8192], cp_isolation=["big5", "shift_jis", "euc_kr", "cp1252", "cp1251"])
    return [match.encoding for match in matches]
