"""Reads a spreadsheet or a parquet file in a process of its own, started by `limited.py`: no module of ours in it.

    python table_reader.py FILE MEMORY SECONDS      (bytes of address space beyond what it has, seconds of computing)

Both are packed files that a stranger made, read by libraries that are not Python: a cell at the far corner makes one
ask for terabytes and abort, a bomb unpacks without end. Here that costs this process and nothing else.

Writes JSON lines. A parquet file: [row number, {column: value …}] for each row. A spreadsheet: {"sheet": name,
"hidden": bool, "merged": [[first row, first column, last row, last column] …]} for each sheet, then
[row number, [cell …]] for each of its rows that hold something (numbers from 1, in `merged` too). And
{"error": kind, "text": …} when the file can't be read.
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import sys
from typing import Any, TextIO


def main() -> None:
    """Read the file named on the command line and write its rows."""
    file, memory, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(file, "rb") as opened:
        read = _parquet if opened.read(4) == b"PAR1" else _book
    if read is _parquet:
        os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve more than they use
    else:
        import python_calamine  # noqa: F401  # before the limit: libraries are not the file's
    _limit(memory, seconds)
    # Whatever a library prints must not stand between the rows.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    try:
        read(file, out)
    except BaseException as error:  # calamine is Rust: a panic in it is a BaseException of its own
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        kind = "memory" if isinstance(error, MemoryError) else type(error).__name__
        print(json.dumps({"error": kind, "text": str(error)[:500]}), file=out)
    out.close()


def _limit(memory: int, seconds: int) -> None:
    used = 0
    try:
        with open("/proc/self/statm") as status:
            used = int(status.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: a Mac, where this limit is not kept anyway
        memory = 0
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _parquet(file: str, out: TextIO) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    number = 0
    with pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as opened:
        for batch in opened.iter_batches(batch_size=256, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                print(json.dumps([number, row], ensure_ascii=False, default=_plain), file=out)


def _plain(value: Any) -> Any:
    """What JSON has no word for. Bytes are an image's, in the sets that have them."""
    if isinstance(value, (bytes, bytearray)):
        import base64

        return "data:image/png;base64," + base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _book(file: str, out: TextIO) -> None:
    import python_calamine

    book = python_calamine.load_workbook(file)
    for facts in book.sheets_metadata:
        if facts.typ == python_calamine.SheetTypeEnum.WorkSheet:
            _sheet(out, book, facts, facts.visible != python_calamine.SheetVisibleEnum.Visible)


def _sheet(out: TextIO, book: Any, facts: Any, hidden: bool) -> None:
    sheet = book.get_sheet_by_name(facts.name)
    left = (sheet.start or (0, 0))[1]
    merged = [[a[0] + 1, a[1] + 1 - left, b[0] + 1, b[1] + 1 - left] for a, b in sheet.merged_cell_ranges or ()]
    print(json.dumps({"sheet": facts.name, "hidden": hidden, "merged": merged}), file=out)
    if not sheet.height:
        return
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells = [cell_text(value) for value in row]
        if any(cells):
            while not cells[-1]:
                cells.pop()
            print(json.dumps([number, cells], ensure_ascii=False), file=out)


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


if __name__ == "__main__":
    main()
