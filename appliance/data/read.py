"""Files into raw records, each with the line where it stands: text files here, tables in `tables.py`.

A file is taken for what it holds, not for what its name says: JSON lines in a `.json`, a spreadsheet named `.csv` and a
table of text named `.xls` are all read. JSON lines, tables and text are read as they come; a JSON array as a whole.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from appliance.data import encodings, tables
from appliance.data.notes import Note
from appliance.data.tables import Broken, Record
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

KINDS = ("json", "jsonl", "csv", "tsv", "xlsx", "xls", "txt", "md")
_TABLES = {".csv", ".tsv", ".tab", ".xls", ".xlsx", ".xlsm", ".xlsb", ".ods"}
_TEXTS = {".txt", ".md", ".markdown", ".text"}
_HEAD_BYTES = 256 * 1024
_WHOLE_JSON = 10**9  # characters that are read at once; JSON lines have no such limit
_ROW_WORDS = {
    "messages", "conversations", "conversation", "history", "tools", "chosen", "rejected", "prompt", "completion",
}  # fmt: skip
_PIECE = 2000  # characters of plain text in a row: about a thousand tokens, so that rows are neither lines nor books


@dataclass
class Source:
    """An open file's kind, its encoding (None for spreadsheets) and its records, which can be read more than once."""

    kind: str  # json | jsonl | table | text
    encoding: str | None
    records: Callable[[], Iterator[Record]]
    columns: list[str] = field(default_factory=list)  # of a table
    notes: list[Note] = field(default_factory=list)
    sheet: str | None = None
    sheets: list[str] = field(default_factory=list)  # those with rows


def open_source(file: Path, sheet: str | None = None, mapping: Mapping[str, str] | None = None) -> Source:
    """Find out what a file is and how to read it. `mapping` helps to find the row with the headers.

    Raises ApplianceError when it is missing, empty, or nothing that we read.
    """
    head = _head(file)
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        table = tables.spreadsheet(file, sheet, mapping or {})
        return Source("table", None, table.records, table.columns, table.notes, table.sheet, table.sheets)
    if sheet is not None:
        raise UsageError(
            _("{name} has no sheets.").format(name=file.name),
            _("Only spreadsheets (xlsx, xls) have them."),
            _("Leave out --sheet."),
        )
    encoding, notes = encodings.detect(file, head, lambda: _bytes(file))

    def text() -> IO[str]:
        errors = "replace" if notes else "strict"
        return io.TextIOWrapper(_bytes(file), encoding=encoding, errors=errors, newline="")

    with _readable(file), text() as opened:
        start = opened.read(_HEAD_BYTES)
    if not start.strip("\ufeff \t\r\n"):
        raise _empty(file)
    kind = _kind(start.lstrip("\ufeff"), suffix)
    if kind == "json":
        return Source(kind, encoding, lambda: _json(file, text), notes=notes)
    if kind == "jsonl":
        return Source(kind, encoding, lambda: _lines(file, text), notes=notes)
    if kind == "text":
        return Source(kind, encoding, lambda: _pieces(file, text), notes=notes)
    if kind == "table":
        table = tables.delimited(start, lambda: _guarded(file, text), suffix, mapping or {})
        return Source(kind, encoding, table.records, table.columns, notes + table.notes)
    raise ApplianceError(
        _("{name} is not a data file that can be read.").format(name=file.name),
        _("Neither its name nor its beginning shows what it is."),
        _("Save it as one of: {kinds}.").format(kinds=", ".join(KINDS)),
    )


def _empty(file: Path) -> ApplianceError:
    return ApplianceError(
        _("{name} is empty.").format(name=file.name),
        _("There is nothing in it to train on."),
        _("Choose a file with questions and answers, or save the spreadsheet again."),
    )


def _bytes(file: Path) -> IO[bytes]:
    return gzip.open(file, "rb") if _is_gzip(file) else file.open("rb")  # type: ignore[return-value]


def _is_gzip(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


def _head(file: Path) -> bytes:
    if not file.exists():
        raise ApplianceError(
            _("{name} is not there.").format(name=str(file)),
            _("No file of this name was found."),
            _("Check the spelling and that the disk or volume is mounted."),
        )
    if not file.is_file():
        raise ApplianceError(
            _("{name} is not a file.").format(name=str(file)),
            _("A data set is one file with rows in it."),
            _("Name the file itself: one of {kinds}.").format(kinds=", ".join(KINDS)),
        )
    with _readable(file), _bytes(file) as opened:
        head = opened.read(_HEAD_BYTES)
    if not head:
        raise _empty(file)
    return head


class _readable:
    """Turns what gzip and decoders raise into an ApplianceError."""

    def __init__(self, file: Path):
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (gzip.BadGzipFile, EOFError, zlib.error)):
            raise ApplianceError(
                _("{name} can't be unpacked.").format(name=self.file.name),
                _("The gz archive is damaged or incomplete: {error}").format(error=error),
                _("Copy or download it again."),
            ) from error
        if isinstance(error, UnicodeError):
            raise ApplianceError(
                _("{name} can't be read as text.").format(name=self.file.name),
                str(error),
                _("Save it again as UTF-8."),
            ) from error


def _guarded(file: Path, text: Callable[[], IO[str]]) -> Iterator[str]:
    """The file's lines, ends included."""
    with _readable(file), text() as opened:
        first = True
        for line in opened:
            yield line.lstrip("\ufeff") if first else line
            first = False


def _kind(start: str, suffix: str) -> str:
    """json | jsonl | table | text, or "" when nobody can tell."""
    stripped = start.lstrip()
    first, _newline, rest = stripped.partition("\n")
    alone = _parses(first)
    if stripped[:1] in ("{", "[") and suffix not in (".csv", ".tsv"):
        if alone and rest.strip()[:1] in ("{", "["):
            return "jsonl"
        if suffix in (".jsonl", ".ndjson"):
            return "json" if stripped[0] == "[" or first.strip() == "{" else "jsonl"
        if suffix not in _TEXTS or _json_like(stripped):
            return "json"
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix == ".json":
        return "json"
    if suffix in _TEXTS:
        return "text"
    if suffix in _TABLES or tables.delimiter(start):
        return "table"
    return ""


def _json_like(start: str) -> bool:
    return start[1:].lstrip()[:1] == ('"' if start[0] == "{" else "{")


def _parses(line: str) -> bool:
    try:
        _loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _nothing(_word: str) -> None:
    """NaN and Infinity, as pandas writes empty cells: no value."""


_decoder = json.JSONDecoder(parse_constant=_nothing)


def _loads(text: str) -> Any:
    return _decoder.decode(text)


def _lines(file: Path, text: Callable[[], IO[str]]) -> Iterator[Record]:
    for number, line in enumerate(_guarded(file, text), 1):
        if not line.strip():
            continue
        try:
            yield Record(number, _loads(line))
        except (ValueError, RecursionError):
            yield Record(number, Broken("not_json"))


def _json(file: Path, text: Callable[[], IO[str]]) -> Iterator[Record]:
    """The elements of an array, of the one list in an object, or several values in a row; lines as in the file."""
    with _readable(file), text() as opened:
        whole = opened.read(_WHOLE_JSON + 1).lstrip("\ufeff")
    if len(whole) > _WHOLE_JSON:
        raise ApplianceError(
            _("{name} is too large for one JSON array.").format(name=file.name),
            _("Beyond 1,000 million characters a JSON array does not fit into memory."),
            _("Save it as JSON lines (.jsonl): one object a line."),
        )
    walk = _Walk(file, whole)
    first = whole.lstrip()[:1]
    if first == "[":
        yield from walk.array(walk.skip(0))
        return
    if first != "{":
        walk.value(walk.skip(0))  # raises with the place, unless it is a bare word or number
        raise walk.broken(_("it is neither a list nor an object"), 0)
    start = walk.skip(0)
    members = walk.members(start)
    lists = [(place, value) for _key, place, value in members if isinstance(value, list)]
    inner = [place for place, value in lists if any(isinstance(one, dict) for one in value)]
    if len(inner) == 1 and not _ROW_WORDS & {key for key, _place, _value in members}:
        yield from walk.array(inner[0])
        return
    position = start
    while position < len(whole):  # one object, or objects one after the other
        value, end = walk.value(position)
        yield Record(walk.line(position), value)
        position = walk.skip(end)
        if whole[position : position + 1] == ",":
            position = walk.skip(position + 1)


class _Walk:
    """Steps through JSON text element by element, so that each has its line and an error has its place."""

    def __init__(self, file: Path, text: str):
        self.file, self.text = file, text
        self._counted, self._line = 0, 1

    def line(self, position: int) -> int:
        """The line of a position; asked for in rising order."""
        self._line += self.text.count("\n", self._counted, position)
        self._counted = position
        return self._line

    def skip(self, position: int) -> int:
        """The next position that is no white space."""
        while self.text[position : position + 1] in (" ", "\t", "\r", "\n"):
            position += 1
        return position

    def broken(self, why: str, position: int) -> ApplianceError:
        """The error that names line and column."""
        line = self.text.count("\n", 0, position) + 1
        column = position - (self.text.rfind("\n", 0, position) + 1) + 1
        near = self.text[max(0, position - 20) : position + 20].replace("\n", " ").strip()
        return ApplianceError(
            _("{name} is not valid JSON.").format(name=self.file.name),
            _("Line {line}, column {column}: {why}, near: {near}").format(line=line, column=column, why=why, near=near),
            _(
                "Correct this place and check again. "
                "Often it is a missing or surplus comma, a single quote, or a cut-off end."
            ),
        )

    def value(self, position: int) -> tuple[Any, int]:
        try:
            return _decoder.raw_decode(self.text, position)
        except json.JSONDecodeError as error:
            raise self.broken(error.msg, error.pos) from error
        except StopIteration as error:
            raise self.broken(_("a value is missing"), int(error.value or position)) from error
        except RecursionError as error:
            raise self.broken(_("it is nested too deeply"), position) from error
        except ValueError as error:  # a number of thousands of digits
            raise self.broken(str(error), position) from error

    def array(self, position: int) -> Iterator[Record]:
        position = self.skip(position + 1)
        if self.text[position : position + 1] == "]":
            return
        while True:
            value, end = self.value(position)
            yield Record(self.line(position), value)
            position = self.skip(end)
            mark = self.text[position : position + 1]
            if mark == "]":
                return
            if mark != ",":
                raise self.broken(_("a comma or ] is missing"), position)
            position = self.skip(position + 1)

    def members(self, position: int) -> list[tuple[str, int, Any]]:
        """An object's keys, the positions of their values, and the values."""
        found: list[tuple[str, int, Any]] = []
        position = self.skip(position + 1)
        while self.text[position : position + 1] != "}":
            key, end = self.value(position)
            colon = self.skip(end)
            if not isinstance(key, str) or self.text[colon : colon + 1] != ":":
                raise self.broken(_("a name in double quotes and a colon are expected"), position)
            place = self.skip(colon + 1)
            value, end = self.value(place)
            found.append((key, place, value))
            position = self.skip(end)
            if self.text[position : position + 1] == ",":
                position = self.skip(position + 1)
            elif self.text[position : position + 1] != "}":
                raise self.broken(_("a comma or }} is missing").format(), position)
        return found


def _pieces(file: Path, text: Callable[[], IO[str]]) -> Iterator[Record]:
    """Plain text in rows of about `_PIECE` characters, cut at a blank line, a line's end or a sentence's."""
    gathered: list[str] = []
    length = begin = 0
    for number, line in enumerate(_guarded(file, text), 1):
        line = line.rstrip("\r\n") + "\n"
        blank = not line.strip()
        if gathered and (length >= 2 * _PIECE or (blank and length >= _PIECE)):
            yield Record(begin, {"text": "".join(gathered).strip()})
            gathered, length = [], 0
        while len(line) > 2 * _PIECE:
            cut = max(line.rfind(mark, _PIECE, 2 * _PIECE) for mark in "。！？.!?；; ") + 1 or 2 * _PIECE
            yield Record(number, {"text": ("".join(gathered) + line[:cut]).strip()})
            gathered, length, line = [], 0, line[cut:]
        if gathered or not blank:
            begin = begin if gathered else number
            gathered.append(line)
            length += len(line)
    if rest := "".join(gathered).strip():
        yield Record(begin, {"text": rest})


csv.field_size_limit(2**31 - 1)  # the library's own limit of 128 KiB is below one long document
