"""Spreadsheets and other files, made on the spot with nothing but the standard library."""

from __future__ import annotations

import struct
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


def write_xls(path: Path, name: str, rows: Sequence[Sequence[Cell]]) -> Path:
    """A workbook as Excel 97 saves it: one sheet in BIFF8 records, in a compound file of 512-byte sectors."""

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def begin(kind: int) -> bytes:
        return record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0x0DBB, 0x07CC, 0, 6))

    end, title = record(0x000A, b""), struct.pack("<BB", len(name), 1) + name.encode("utf-16-le")
    bound = struct.pack("<IH", len(begin(5)) + 4 + 6 + len(title) + len(end), 0) + title
    cells = b""
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            place = struct.pack("<HHH", number, column, 0)
            if isinstance(value, str):
                text = struct.pack("<HB", len(value), 1) + value.encode("utf-16-le")
                cells += record(0x0204, place + text)
            elif value is not None:
                cells += record(0x0203, place + struct.pack("<d", value))
    stream = begin(5) + record(0x0085, bound) + end + begin(0x10) + cells + end
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")  # shorter ones stand elsewhere
    sectors, free = len(stream) // 512, 0xFFFFFFFF
    chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, sectors + 2), 0xFFFFFFFE]  # the table itself, the folder, the stream
    assert len(chain) <= 128

    def entry(title: str, kind: int, child: int, start: int, size: int) -> bytes:
        text = (title.encode("utf-16-le") + b"\0\0").ljust(64, b"\0")
        head = text + struct.pack("<HBBIII", 2 * len(title) + 2, kind, 1, free, free, child)
        return head + bytes(36) + struct.pack("<IQ", start, size)

    folder = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry("Workbook", 2, free, 2, len(stream)) + bytes(256)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack(
        "<HHHHH6xIIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0
    )
    header += struct.pack("<108I", *[free] * 108)
    table = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    path.write_bytes(header + table + folder + stream)
    return path
