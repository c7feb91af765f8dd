"""The keys that open the door, read again when they change. Standard library only: the guard runs this.

A folder holds one file a key, `NAME.key`: removing the file revokes it while the server runs. A single file holds one
or several, a line each, as `key` or `name:key`. Only the sha256 of a key stays in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
import time
from pathlib import Path

SUFFIX = ".key"
# Two changes within one tick of the file system's clock look the same: what has just changed is read again.
_TICK_NS = 100_000_000

_log = logging.getLogger("appliance.guard")

Signature = tuple[tuple[str, int, int, int, int], ...]


def key_files(folder: Path) -> list[Path]:
    """The key files of a folder, in order of their names. Raises OSError."""
    return sorted(
        path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith(".") and path.is_file()
    )


class Keyring:
    """Names of the keys by what opens. `path`: a folder or a file; None: there are no keys, by a person's wish."""

    def __init__(self, path: str | None):
        self._path = Path(path) if path is not None else None
        self._digests: dict[str, bytes] = {}
        self._seen: Signature | None = None
        if self._path is not None:
            self._refresh()
            if not self._digests:  # never open the door because there is nothing to close it with
                raise ValueError("there is no key")

    @property
    def wanted(self) -> bool:
        """Whether a key must be shown. Also when all were revoked: the door is shut then."""
        return self._path is not None

    def name_of(self, key: bytes) -> str | None:
        """The name of the key; None when it opens nothing."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        found = None
        for name, known in self._digests.items():  # all of them, so that the time doesn't tell which
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _refresh(self) -> None:
        assert self._path is not None
        try:
            now = self._signature(self._path)
        except OSError:  # the folder is gone: so are the keys
            now = ()
        if now == self._seen:
            return
        self._digests = self._read(self._path)
        newest = max((mtime for _name, mtime, *_rest in now), default=0)
        self._seen = now if time.time_ns() - newest > _TICK_NS else None

    @staticmethod
    def _signature(path: Path) -> Signature:
        def of(name: str, facts: os.stat_result) -> tuple[str, int, int, int, int]:
            return (name, facts.st_mtime_ns, facts.st_ino, facts.st_size, facts.st_mode)

        facts = path.stat()
        if not stat.S_ISDIR(facts.st_mode):
            return (of("", facts),)
        with os.scandir(path) as entries:
            return (of("", facts), *sorted(of(e.name, e.stat()) for e in entries if e.name.endswith(SUFFIX)))

    @staticmethod
    def _read(path: Path) -> dict[str, bytes]:
        """{name: sha256 of the key}. What others may read is no key."""
        digests: dict[str, bytes] = {}
        try:
            found = [(file.stem, file) for file in key_files(path)] if path.is_dir() else [("", path)]
        except OSError:
            return {}
        for stem, file in found:
            try:
                if stem and file.stat().st_mode & 0o077:
                    _log.warning("%s is readable by others and opens nothing", file.name)
                    continue
                lines = file.read_bytes().splitlines()
            except OSError:
                continue
            for number, line in enumerate(lines, 1):
                name, colon, key = (part.strip() for part in line.rpartition(b":"))
                if key:
                    called = name.decode(errors="replace") if colon else stem or str(number)
                    while called in digests:
                        called = f"{called} ({number})"
                    digests[called] = hashlib.sha256(key).digest()
        return digests
