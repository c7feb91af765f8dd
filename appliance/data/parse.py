"""Blocks of text (`blocks.py`) into raw records: JSON lines and delimited tables. Parsers pickle, to work elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.data.blocks import Block
from appliance.data.tables import Broken

# Stands behind a block: read as a row of its own, the block ends where a row does.
END = "\x1f\x1e\x1f"


def _nothing(_word: str) -> None:
    """NaN and Infinity, as pandas writes empty cells: no value."""


decoder = json.JSONDecoder(parse_constant=_nothing)
_quick = msgspec.json.Decoder().decode


def loads(line: bytes) -> Any:
    """A JSON value. Raises ValueError (of which UnicodeError is one), RecursionError.

    msgspec is four times as fast as the standard library and refuses what that forgives: NaN, lone surrogates.
    """
    try:
        return _quick(line)
    except (msgspec.MsgspecError, ValueError):
        return decoder.decode(line.decode())


def _forgiven(line: bytes) -> Any:
    try:
        text = line.decode().rstrip()
        return decoder.decode(text.removesuffix(",") if text.endswith("},") else text)  # as in a list
    except UnicodeError:
        raise
    except (ValueError, RecursionError):
        return Broken("not_json")


Parsed = tuple[list[int], list[Any]]  # the lines where raw rows begin, and the rows; `Broken` where one can't be read


@dataclass(frozen=True)
class Lines:
    """JSON lines. Raises UnicodeError for damaged text."""

    quoted = False

    def __call__(self, data: bytes, block: Block) -> Parsed:
        """A raw row for each line that is not blank."""
        lines, values = [], []
        for number, line in enumerate(data.split(b"\n"), block.line):
            if not line:
                continue
            try:
                value = _quick(line)
            except UnicodeError:
                raise
            except (ValueError, RecursionError):
                if line.isspace():
                    continue
                value = _forgiven(line)
            lines.append(number)
            values.append(value)
        return lines, values


@dataclass(frozen=True)
class Cells:
    """A delimited table: `columns` name the cells; the rows at the lines `skipped` are titles and headers."""

    delimiter: str
    columns: Sequence[str]
    skipped: frozenset[int]
    quoted = True

    def __call__(self, data: bytes, block: Block) -> Parsed | None:
        """A raw row for each that is not blank; None where the block ends inside a row. Raises UnicodeError."""
        text = data.decode()
        rows, clean = rows_of(text, self.delimiter, block.line)
        if not clean:
            if not block.last:
                return None
            rows = _unclosed(rows, text, self.delimiter, block.line)
        return named(rows, self.columns, self.skipped)


def rows_of(text: str, delimiter: str, line: int) -> tuple[list[tuple[int, Any]], bool]:
    """(line, cells) of each row, and whether the text ends where a row does."""
    ended = f"{text}{END}" if text.endswith("\n") else f"{text}\n{END}"
    reader = csv.reader(io.StringIO(ended, newline=""), delimiter=delimiter)
    found: list[list[str]] = []
    try:
        found.extend(reader)
    except csv.Error:
        found, broken = _until_broken(ended, delimiter)
        return [*_numbered(found, line), (line + broken, Broken("not_a_row"))], True
    many = reader.line_num != len(found)
    rows = _numbered(found, line) if many else list(zip(range(line, line + len(found)), found, strict=True))
    if found and found[-1] == [END]:
        rows.pop()
        return rows, True
    return rows, False


def _numbered(found: list[list[str]], line: int) -> list[tuple[int, Any]]:
    """Rows with the lines where they begin, of which some go over several."""
    rows: list[tuple[int, Any]] = []
    for cells in found:
        rows.append((line, cells))
        line += 1
        for cell in cells:
            if "\n" in cell or "\r" in cell:
                line += cell.count("\n") + cell.count("\r") - cell.count("\r\n")
    return rows


def _until_broken(text: str, delimiter: str) -> tuple[list[list[str]], int]:
    """The rows before the one that can't be read, and how many lines they have."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[list[str]] = []
    lines = 0
    try:
        for cells in reader:
            found.append(cells)
            lines = reader.line_num
    except csv.Error:
        pass
    return found, lines


def _unclosed(rows: list[tuple[int, Any]], text: str, delimiter: str, line: int) -> list[tuple[int, Any]]:
    """The rows of a file that ends behind an open quotation mark: the last row is its whole rest, if that is long."""
    begin, cells = rows[-1]
    if text.rstrip("\r\n").count("\n") > begin - line:
        return [*rows[:-1], (begin, Broken("quote_not_closed"))]
    return [*rows[:-1], (begin, [*cells[:-1], cells[-1].removesuffix(END).rstrip("\r\n")])]


def named(rows: Sequence[tuple[int, Any]], columns: Sequence[str], skipped: frozenset[int]) -> Parsed:
    """Rows of cells under their columns' names, without blank ones."""
    width = len(columns)
    lines: list[int] = []
    values: list[Any] = []
    for number, cells in rows:
        if number in skipped:
            continue
        value: Any = cells
        if isinstance(cells, list):
            for cell in cells:
                if cell and not cell.isspace():
                    break
            else:
                continue
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                value = Broken("too_many_columns")
            else:
                value = dict(zip(columns, cells, strict=False))
        lines.append(number)
        values.append(value)
    return lines, values


Parser = Lines | Cells

csv.field_size_limit(2**31 - 1)  # the library's own limit of 128 KiB is below one long document
