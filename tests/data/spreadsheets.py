"""Spreadsheets and other files, made on the spot with nothing but the standard library."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"

Cell = str | int | float | None


def write_xlsx(
    path: Path, sheets: Mapping[str, Sequence[Sequence[Cell]]], merged: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """A workbook with inline strings and numbers; None leaves a cell out. `merged`: ranges ("A1:B1") by sheet."""
    book = "".join(f"<sheet name='{n}' sheetId='{i}' r:id='r{i}'/>" for i, n in enumerate(sheets, 1))
    links = "".join(
        f"<Relationship Id='r{i}' Type='{_OFFICE}/worksheet' Target='worksheets/sheet{i}.xml'/>"
        for i in range(1, len(sheets) + 1)
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f"<Types xmlns='{_PACKAGE}/content-types'><Default Extension='xml' ContentType='application/xml'/></Types>",
        )
        archive.writestr(
            "_rels/.rels",
            f"<Relationships xmlns='{_PACKAGE}/relationships'>"
            f"<Relationship Id='r1' Type='{_OFFICE}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        )
        archive.writestr(
            "xl/workbook.xml", f"<workbook xmlns='{_MAIN}' xmlns:r='{_OFFICE}'><sheets>{book}</sheets></workbook>"
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f"<Relationships xmlns='{_PACKAGE}/relationships'>{links}</Relationships>"
        )
        for number, (name, rows) in enumerate(sheets.items(), 1):
            ranges = "".join(f"<mergeCell ref='{one}'/>" for one in (merged or {}).get(name, ()))
            lines = "".join(f"<row r='{r}'>{_cells(r, row)}</row>" for r, row in enumerate(rows, 1))
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f"<worksheet xmlns='{_MAIN}'><sheetData>{lines}</sheetData>"
                + (f"<mergeCells>{ranges}</mergeCells>" if ranges else "")
                + "</worksheet>",
            )
    return path


def _cells(row: int, cells: Sequence[Cell]) -> str:
    text = ""
    for column, value in enumerate(cells):
        place = f"{chr(65 + column)}{row}"
        if isinstance(value, str):
            text += f"<c r='{place}' t='inlineStr'><is><t xml:space='preserve'>{escape(value)}</t></is></c>"
        elif value is not None:
            text += f"<c r='{place}'><v>{value}</v></c>"
    return text
