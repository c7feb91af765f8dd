"""Tables (csv, tsv, spreadsheets): the delimiter, the row with the headers, and the rows under it as records."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.data import words
from appliance.data.notes import Note
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

_LOOKED_AT = 20  # rows in which the headers are looked for
_SHORT = 24  # characters: a longer first row holds sentences, not headers


@dataclass(frozen=True)
class Broken:
    """Stands where a row should be; the reason is one of `check.REASONS`."""

    reason: str


@dataclass(frozen=True)
class Record:
    """One raw row and the line (in a spreadsheet: the row number) where it begins."""

    line: int
    value: Any


@dataclass
class Table:
    """The columns' names and the records under them: dictionaries from column to text."""

    columns: list[str]
    records: Callable[[], Iterator[Record]]
    notes: list[Note] = field(default_factory=list)
    sheet: str | None = None
    sheets: list[str] = field(default_factory=list)


Numbered = tuple[int, "list[str] | Broken"]


def delimiter(sample: str) -> str:
    """The mark that cuts the sample's rows into the same number of columns most often; "" when there is none."""
    best, best_score = "", 0.0
    for mark in ("\t", ",", ";", "|", "，"):
        if mark not in sample:
            continue
        rows = [row for row in list(csv.reader(sample.splitlines(True), delimiter=mark))[:200] if any(row)]
        counts = [len(row) for row in rows]
        if len(sample) > 1000 and len(counts) > 1:
            counts.pop()  # the sample's end cuts a row
        usual = max(set(counts), key=counts.count, default=1)
        score = counts.count(usual) / len(counts) if usual > 1 else 0.0
        score += any(
            len(words.match(row)) > 1 for row in rows[:_LOOKED_AT] if len(row) == usual > 1 and _names_only(row)
        )
        if score > best_score + 0.05:
            best, best_score = mark, score
    return best if best_score >= 0.4 else ""


def delimited(sample: str, lines: Callable[[], Iterator[str]], suffix: str, mapping: Mapping[str, str]) -> Table:
    """A csv or tsv file. `lines` gives its lines with their ends, from the beginning, as often as it is called."""
    mark = delimiter(sample) or ("\t" if suffix in (".tsv", ".tab") else ",")

    def rows() -> Iterator[Numbered]:
        since: list[str] = []  # the lines of the row being read

        def watched() -> Iterator[str]:
            for line in lines():
                since.append(line)
                yield line

        reader = csv.reader(watched(), delimiter=mark)
        begin = 1
        last: Numbered | None = None
        try:
            for cells in reader:
                if last:
                    yield last
                last = (begin, cells)
                begin = reader.line_num + 1
                tail, since[:] = list(since), []
        except csv.Error:
            yield (begin, Broken("not_a_row"))
        if last:
            yield (last[0], Broken("quote_not_closed")) if _unclosed(tail, mark) else last

    return _table(rows, mapping)


def _unclosed(lines: Sequence[str], mark: str) -> bool:
    """Whether the last row of a file is the rest of the file behind a quotation mark that nobody closed."""
    if len(lines) < 2:
        return False
    try:
        list(csv.reader(lines, delimiter=mark, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)
    return False


def spreadsheet(file: Path, wanted: str | None, mapping: Mapping[str, str]) -> Table:
    """One sheet of an Excel or OpenDocument file: the wanted one (name or number from 1), else the likeliest."""
    import python_calamine

    try:
        book = python_calamine.load_workbook(str(file))
        sheets = {name: _cells(book.get_sheet_by_name(name)) for name in book.sheet_names}
    except BaseException as error:  # calamine is Rust: a panic in it is a BaseException of its own
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ApplianceError(
            _("{name} can't be read as a spreadsheet.").format(name=file.name),
            _("It has a password.") if type(error).__name__ == "PasswordError" else str(error) or type(error).__name__,
            _("Open it in Excel or WPS and save it as a new .xlsx without a password, or as .csv."),
        ) from error
    filled = {name: rows for name, rows in sheets.items() if rows}
    if not filled:
        raise ApplianceError(
            _("{name} is empty.").format(name=file.name),
            _("None of its sheets has a filled cell."),
            _("Choose a file with questions and answers, or save the spreadsheet again."),
        )
    if wanted is not None and wanted not in sheets and wanted.isdigit() and 1 <= int(wanted) <= len(sheets):
        wanted = list(sheets)[int(wanted) - 1]
    if wanted is not None and wanted not in filled:
        raise UsageError(
            _("{name} has no filled sheet called {sheet}.").format(name=file.name, sheet=wanted),
            _("Its sheets with rows: {sheets}").format(sheets=", ".join(filled)),
            _("Name one of them with --sheet."),
        )
    tables = {name: _table(lambda rows=rows: iter(rows), mapping) for name, rows in filled.items()}  # type: ignore[misc]
    chosen = wanted or max(tables, key=lambda name: len(words.match(tables[name].columns)) * (len(filled[name]) > 1))
    table = tables[chosen]
    table.sheet, table.sheets = chosen, list(filled)
    return table


def _cells(sheet: Any) -> list[Numbered]:
    """A sheet's rows that hold something, as text, with their row numbers."""
    begin = (sheet.start or (0, 0))[0] + 1
    rows = ([cell_text(value) for value in row] for row in sheet.to_python())
    return [(number, row) for number, row in enumerate(rows, begin) if any(row)]


def cell_text(value: Any) -> str:
    """A cell as a person reads it: 3.0 is "3", a date without a time is a date."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Excel keeps 15 digits: beyond them repr would show the noise of binary fractions
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(value, ".15g")
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return value.strip() if isinstance(value, str) else str(value)


def _table(rows: Callable[[], Iterator[Numbered]], mapping: Mapping[str, str]) -> Table:
    top: list[tuple[int, list[str]]] = []
    for number, cells in rows():
        if isinstance(cells, list) and any(cell.strip() for cell in cells):
            top.append((number, cells))
        if len(top) == _LOOKED_AT:
            break
    place = _header(top, mapping)
    # Without headers the usual number of cells counts: a row with more is one with a delimiter in its text.
    counts = [len(cells) for _number, cells in top]
    width = len(top[place][1]) if place is not None else max(counts, key=counts.count, default=0)
    columns = _names(top[place][1] if place is not None else [], width)
    skipped = {number for number, _cells_ in top[: place + 1]} if place is not None else set()
    if place is None and len(top) > 1 and _filled(top[0][1]) == 1 < _filled(top[1][1]):
        skipped = {top[0][0]}  # a title above rows without headers

    def records() -> Iterator[Record]:
        for number, cells in rows():
            if isinstance(cells, Broken):
                yield Record(number, cells)
            elif number not in skipped and any(cell.strip() for cell in cells):
                if any(cell.strip() for cell in cells[len(columns) :]):
                    yield Record(number, Broken("too_many_columns"))
                else:
                    yield Record(number, dict(zip(columns, cells, strict=False)))

    notes = []
    if place is None and top:
        sentence = _("No row with headers was found: the columns are called {columns}.")
        notes.append(Note("no_headers", sentence.format(columns=", ".join(columns))))
    return Table(columns, records, notes)


def _filled(cells: Sequence[str]) -> int:
    return sum(1 for cell in cells if cell.strip())


def _header(top: Sequence[tuple[int, list[str]]], mapping: Mapping[str, str]) -> int | None:
    """Which of the first rows holds the headers: one named in the mapping, one with our words, one of short names."""
    wanted = {words.plain(column) for column in mapping.values()}
    for index, (_number, cells) in enumerate(top):
        if wanted and wanted <= {words.plain(cell) for cell in cells}:
            return index
    for index, (_number, cells) in enumerate(top):
        if index and max(_filled(above) for _n, above in top[:index]) >= _filled(cells):
            break  # what stands above headers are titles, which fill fewer cells
        known = len({words.plain(cell) for cell in cells if words.is_known(cell)})
        matched = len(words.match([cell for cell in cells if cell.strip()])) if _names_only(cells) else 0
        lone = all(_filled(row) <= 1 for _n, row in top)
        if max(known, matched) >= 2 or (known == 1 and index == 0 and (lone or _filled(cells) > 1)):
            return index
    for index, (_number, cells) in enumerate(top[:-1]):
        below = [row for _n, row in top[index + 1 :]]
        if _filled(cells) < max(2, max(map(_filled, below))):
            continue
        longest = max(len(cell) for row in below for cell in row)
        return index if _names_only(cells) and longest > 2 * max(len(cell) for cell in cells) else None
    return None


def _names_only(cells: Sequence[str]) -> bool:
    """Whether cells read like names of columns: short, no sentences, no numbers."""
    texts = [cell.strip() for cell in cells]
    sentences = any(len(text) > _SHORT or text.endswith(tuple("。.?？!！,，;；")) for text in texts)
    return not sentences and not any(text.replace(".", "", 1).isdigit() for text in texts)


def letter(index: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA, as spreadsheets count columns."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(65 + rest) + name
    return name


def _names(cells: Sequence[str], width: int) -> list[str]:
    """The columns' names, each once: the header, else the column's letter."""
    names: list[str] = []
    for index in range(max(width, len(cells))):
        name = cells[index].strip().lstrip("\ufeff") if index < len(cells) else ""
        # not the bare letter: "A" and "Q" are header words
        names.append(name if name and name not in names else f"{name or 'column'} {letter(index)}")
    return names
