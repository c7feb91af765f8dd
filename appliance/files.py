"""Writing so that a reader never sees half a file, and neither does anyone after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to fsync a folder; the rename itself has still happened
        pass
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, mode: int = 0o644, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that takes `path`'s place when the block ends without an error; otherwise nothing changes.

    `durable=False` leaves out the fsync: for what may be lost in a power cut but must never be seen torn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, mode: int = 0o644, durable: bool = True) -> None:
    """Replace a file's text as a whole."""
    with replacing(path, mode, durable) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any, mode: int = 0o644, durable: bool = True) -> None:
    """Replace a JSON file as a whole."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n", mode, durable)


def read_json(path: Path) -> Any:
    """Raises OSError and ValueError (json.JSONDecodeError, UnicodeDecodeError), as the file deserves."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """A file's sha256 in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all regular files below a folder; files that vanish meanwhile count as zero."""
    total = 0
    for root, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total
