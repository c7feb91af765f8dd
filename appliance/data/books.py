"""Spreadsheets (xlsx, xls, ods …) as tables. The file is read once, by a process with limits."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from appliance.data import limited, tables, words
from appliance.data.parse import named
from appliance.data.tables import Numbered, Record, Table
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

_SPOOLED = 8 << 20  # bytes of rows that are kept in memory; more go to a temporary file
_AT_ONCE = 512  # rows


@dataclass
class _Sheet:
    name: str
    hidden: bool
    merged: list[list[int]]
    begin: int  # in the spool
    rows: int = 0
    width: int = 0
    top: list[tuple[int, list[str]]] = field(default_factory=list)


def spreadsheet(file: Path, wanted: str | None, mapping: Mapping[str, str]) -> Table:
    """One sheet of an Excel or OpenDocument file: the wanted one (name or number from 1), else the likeliest."""
    spool = tempfile.SpooledTemporaryFile(_SPOOLED)  # noqa: SIM115  # as long as the table is in use
    sheets = _read(file, spool)
    filled = [sheet for sheet in sheets if sheet.rows]
    if not filled:
        raise ApplianceError(
            _("{name} is empty.").format(name=file.name),
            _("None of its sheets has a filled cell."),
            _("Choose a file with questions and answers, or save the spreadsheet again."),
        )
    if wanted is not None and all(sheet.name != wanted for sheet in sheets) and wanted.isdigit():
        wanted = next((sheet.name for number, sheet in enumerate(sheets, 1) if number == int(wanted)), wanted)
    if wanted is not None and all(sheet.name != wanted for sheet in filled):
        raise UsageError(
            _("{name} has no filled sheet called {sheet}.").format(name=file.name, sheet=wanted),
            _("Its sheets with rows: {sheets}").format(sheets=", ".join(sheet.name for sheet in filled)),
            _("Name one of them with --sheet."),
        )
    heads = {sheet.name: tables.head(sheet.top, mapping, sheet.merged, sheet.width) for sheet in filled}
    fit = {sheet.name: _fit(sheet, heads[sheet.name].columns) for sheet in filled}
    chosen = next((s for s in filled if s.name == wanted), max(filled, key=lambda sheet: fit[sheet.name]))
    head = heads[chosen.name]
    down = [range_ for range_ in chosen.merged if range_[1] == range_[3] and range_[0] not in head.skipped]

    def records() -> Iterator[Record]:
        rows = _filled_down(_rows(spool, chosen), down)
        while some := list(islice(rows, _AT_ONCE)):
            yield from map(Record, *named(some, head.columns, head.skipped))

    # A sheet with an explanation or a list of words is no second reading of the file.
    other = [sheet.name for sheet in filled if fit[sheet.name][0] >= min(2, fit[chosen.name][0])]
    return Table(head.columns, records, head.notes, chosen.name, [s.name for s in filled], other, head.known)


def _fit(sheet: _Sheet, columns: list[str]) -> tuple[int, bool, int]:
    """How likely a sheet is the one that is meant: known columns, visible, rows."""
    return (len(words.match(columns)) * (sheet.rows > 1), not sheet.hidden, sheet.rows)


def _read(file: Path, spool: IO[bytes]) -> list[_Sheet]:
    sheets: list[_Sheet] = []
    for line, value in limited.rows(file):
        if isinstance(value, list) and sheets:
            sheet = sheets[-1]
            sheet.rows += 1
            sheet.width = max(sheet.width, len(value[1]))
            if len(sheet.top) < tables.LOOKED_AT:
                sheet.top.append((value[0], value[1]))
            spool.write(line)
        elif isinstance(value, dict):
            spool.write(b"\n")
            sheets.append(_Sheet(value["sheet"], value["hidden"], value["merged"], spool.tell()))
    return sheets


def _rows(spool: IO[bytes], sheet: _Sheet) -> Iterator[Numbered]:
    place = sheet.begin
    for _row in range(sheet.rows):
        spool.seek(place)  # several may read the same spool
        line = spool.readline()
        place = spool.tell()
        number, cells = json.loads(line)
        yield number, cells


def _filled_down(rows: Iterator[Numbered], merged: list[list[int]]) -> Iterator[Numbered]:
    """A cell merged over several rows stands in each of them."""
    below = {(row, first[1] - 1): first[0] for first in merged for row in range(first[0] + 1, first[2] + 1)}
    tops = {(first[0], first[1] - 1) for first in merged}
    values: dict[tuple[int, int], str] = {}
    columns = {column for _row, column in tops}
    for number, cells in rows:
        if columns and isinstance(cells, list):
            for column in columns:
                if (number, column) in tops and column < len(cells):
                    values[number, column] = cells[column]
                elif value := values.get((below.get((number, column), 0), column)):
                    cells += [""] * (column + 1 - len(cells))
                    cells[column] = cells[column] or value
        yield number, cells
