"""Spreadsheets and parquet, read by a process that may not take more than the file's size explains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.data import table_reader
from appliance.errors import ApplianceError
from appliance.locale import _

_MEMORY = 256 << 20  # bytes that reading may take, and as many times the file's size:
_MEMORY_FACTOR = 30
_SECONDS = 3  # of computing, and as many more for each megabyte:
_SECONDS_FACTOR = 2


def rows(file: Path) -> Iterator[tuple[bytes, Any]]:
    """(line, value) of what `table_reader.py` writes about a file. Raises ApplianceError where it can't be read."""
    size = file.stat().st_size
    limits = (str(_MEMORY + _MEMORY_FACTOR * size), str(_SECONDS + _SECONDS_FACTOR * (size >> 20)))
    reader = subprocess.Popen(
        [str(settings.python_of("core")), "-I", str(Path(table_reader.__file__)), str(file.absolute()), *limits],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=settings.child_environment(),
    )
    assert reader.stdout is not None
    try:
        for line in reader.stdout:
            value = _value(line)
            if isinstance(value, dict) and "error" in value:
                raise _unreadable(file, _why(value["error"], value["text"]))
            if value is not None:
                yield line, value
        if reader.wait():
            raise _unreadable(file, _why("memory", ""))
    finally:
        reader.kill()  # does nothing to one that has ended
        reader.wait()
        reader.stdout.close()


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # the last line of a reader that was ended
        return None


def _why(kind: str, text: str) -> str:
    if kind == "PasswordError":
        return _("It has a password.")
    if kind in ("memory", "ArrowMemoryError"):
        return _(
            "Reading it takes more memory or time than its size explains: "
            "perhaps a cell far outside of the table is filled."
        )
    return text or kind


def _unreadable(file: Path, why: str) -> ApplianceError:
    if file.name.lower().endswith(".parquet"):
        return ApplianceError(
            _("{name} can't be read as parquet.").format(name=file.name),
            why,
            _("Copy or download it again."),
        )
    return ApplianceError(
        _("{name} can't be read as a spreadsheet.").format(name=file.name),
        why,
        _("Open it in Excel or WPS and save it as a new .xlsx without a password, or as .csv."),
    )
