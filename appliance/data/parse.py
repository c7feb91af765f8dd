"""Blocks of text (`blocks.py`) into raw records: JSON lines and delimited tables. Parsers pickle, to work elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.data.blocks import Block
from appliance.data.tables import Broken, Record

# Stands behind a block: read as a row of its own, the block ends where a row does.
_END = "\x1f\x1e\x1f"


def _nothing(_word: str) -> None:
    """NaN and Infinity, as pandas writes empty cells: no value."""


decoder = json.JSONDecoder(parse_constant=_nothing)
_quick = msgspec.json.Decoder().decode


def loads(line: bytes) -> Any:
    """A JSON value. Raises ValueError, RecursionError.

    msgspec is four times as fast as the standard library and refuses what that forgives: NaN, lone surrogates.
    """
    try:
        return _quick(line)
    except (msgspec.MsgspecError, ValueError):
        return decoder.decode(line.decode(errors="replace"))


@dataclass(frozen=True)
class Lines:
    """JSON lines."""

    quoted = False

    def __call__(self, data: bytes, block: Block) -> list[Record]:
        """A record for each line that is not blank."""
        records = []
        for number, line in enumerate(data.split(b"\n"), block.line):
            if line and not line.isspace():
                try:
                    value = loads(line)
                except (ValueError, RecursionError):
                    value = Broken("not_json")
                records.append(Record(number, value))
        return records


@dataclass(frozen=True)
class Cells:
    """A delimited table: `columns` name the cells; the rows at the lines `skipped` are titles and headers."""

    delimiter: str
    columns: Sequence[str]
    skipped: frozenset[int]
    quoted = True

    def __call__(self, data: bytes, block: Block) -> list[Record] | None:
        """A record for each row that is not blank; None where the block ends inside a row."""
        text = data.decode(errors="replace")
        rows, clean = rows_of(text, self.delimiter, block.line)
        if not clean:
            if not block.last:
                return None
            rows = _unclosed(rows, text, self.delimiter, block.line)
        return records_of(rows, self.columns, self.skipped)


def rows_of(text: str, delimiter: str, line: int) -> tuple[list[tuple[int, Any]], bool]:
    """(line, cells) of each row, and whether the text ends where a row does."""
    lines = io.StringIO(f"{text}{_END}" if text.endswith("\n") else f"{text}\n{_END}", newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    rows: list[tuple[int, Any]] = []
    begin = line
    try:
        for cells in reader:
            rows.append((begin, cells))
            begin = line + reader.line_num
    except csv.Error:
        return [*rows, (begin, Broken("not_a_row"))], True
    if rows and rows[-1][1] == [_END]:
        rows.pop()
        return rows, True
    return rows, False


def _unclosed(rows: list[tuple[int, Any]], text: str, delimiter: str, line: int) -> list[tuple[int, Any]]:
    """The rows of a file that ends behind an open quotation mark: the last row is its whole rest, if that is long."""
    begin, cells = rows[-1]
    if text.rstrip("\r\n").count("\n") > begin - line:
        return [*rows[:-1], (begin, Broken("quote_not_closed"))]
    return [*rows[:-1], (begin, [*cells[:-1], cells[-1].removesuffix(_END).rstrip("\r\n")])]


def records_of(
    rows: Sequence[tuple[int, Any]], columns: Sequence[str], skipped: frozenset[int] | set[int]
) -> list[Record]:
    """Rows of cells under their columns' names, without blank ones."""
    width = len(columns)
    records = []
    for number, cells in rows:
        if number in skipped:
            continue
        if isinstance(cells, Broken):
            records.append(Record(number, cells))
            continue
        for cell in cells:
            if cell and not cell.isspace():
                break
        else:
            continue
        if len(cells) > width and any(cell.strip() for cell in cells[width:]):
            records.append(Record(number, Broken("too_many_columns")))
        else:
            records.append(Record(number, dict(zip(columns, cells, strict=False))))
    return records


Parser = Lines | Cells
Fields = Mapping[str, str]

csv.field_size_limit(2**31 - 1)  # the library's own limit of 128 KiB is below one long document
