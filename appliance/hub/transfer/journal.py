"""What of each file is on the disk: an append-only journal that outlives a kill and a power cut.

A line is a JSON list and its CRC-32. Two degrees of trust: what was written is in the kernel's hands and survives the
end of the process, but not that of the machine, so it counts only within the same boot; what was synced before its
line was written counts always. Lines that were torn are skipped.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.files import replacing
from appliance.hub.transfer.ranges import Ranges, Span

NAME = ".transfer.journal"


@dataclass
class Known:
    """One file as an earlier run left it. `mark`: the content that the bytes belong to; `validator`: (origin, ETag)."""

    size: int
    mark: str
    have: Ranges = field(default_factory=Ranges)
    synced: Ranges = field(default_factory=Ranges)
    validator: tuple[str, str] | None = None


class Journal:
    """The journal in one staging folder. Nothing is created before there is something to say."""

    def __init__(self, folder: Path):
        self._path = folder / NAME
        self._boot = boot_mark()
        self.known = self._read()
        self._handle = -1
        self._torn = self._closed = False
        self._lock = threading.RLock()
        self._ids: dict[str | int, int] = {}
        self._next = 0

    def begin(self, name: str, size: int, mark: str) -> None:
        """From here on, what is said about `name` is about this content; what was said before is forgotten."""
        with self._lock:
            self._open()
            self._append("file", self._number(name), name, size, mark)

    def wrote(self, name: str, start: int, end: int) -> None:
        """Bytes were handed to the kernel."""
        self._append("wrote", name, start, end)

    def synced(self, name: str, spans: list[Span]) -> None:
        """Bytes are on the disk: fsync has returned."""
        for start, end in spans:
            self._append("synced", name, start, end)

    def validator(self, name: str, origin: str, etag: str) -> None:
        """What the origin calls this content."""
        self._append("etag", name, origin, etag)

    def rest(self) -> None:
        """A line that says nothing: it fits onto the disk or not."""
        self._append("rest", " " * 4096)

    def close(self) -> None:
        """Let go of the file. The lines stay; nothing is said any more."""
        with self._lock:
            self._closed = True
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def _append(self, kind: str, about: str | int, *words: Any) -> None:
        with self._lock:
            self._open()
            raw = (b"\n" if self._torn else b"") + _line((kind, self._ids.get(about, about), *words))
            try:
                self._torn = os.write(self._handle, raw) < len(raw)
            except OSError:
                self._torn = True
                raise

    def _number(self, name: str) -> int:
        self._ids[name] = self._next
        self._next += 1
        return self._ids[name]

    def _open(self) -> None:
        """Write what is known anew, so that the journal neither grows for ever nor begins with torn lines."""
        if self._handle >= 0:
            return
        if self._closed:  # what is known by now is older than the lines: writing it would take them back
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(self._path))
        with replacing(self._path) as file:
            file.write(_line(("boot", self._boot)))
            for name, one in self.known.items():
                number = self._number(name)
                file.write(_line(("file", number, name, one.size, one.mark)))
                if one.validator:
                    file.write(_line(("etag", number, *one.validator)))
                for kind, spans in (("synced", one.synced.spans), ("wrote", one.have.spans)):
                    for start, end in spans:
                        file.write(_line((kind, number, start, end)))
        self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _read(self) -> dict[str, Known]:
        try:
            raw = self._path.read_bytes()
        except OSError:
            return {}
        known: dict[str, Known] = {}
        names: dict[int, str] = {}
        same_boot = False
        for line in raw.split(b"\n"):
            match _words(line):
                case ["boot", mark]:
                    same_boot = mark == self._boot
                    names = {}
                case ["file", int(number), str(name), int(size), str(mark)]:
                    names[number] = name
                    known[name] = Known(size, mark)
                case ["etag", int(number), str(origin), str(etag)] if number in names:
                    known[names[number]].validator = (origin, etag)
                case [("wrote" | "synced") as kind, int(number), int(start), int(end)] if number in names:
                    one = known[names[number]]
                    if 0 <= start < end <= one.size:
                        if kind == "synced":
                            one.synced.add(start, end)
                        if kind == "synced" or same_boot:
                            one.have.add(start, end)
        return known


def adopt(folder: Path, sizes: Mapping[str, int]) -> None:
    """Whole files that no journal knows: of a model that is mended. The hub's checksums will tell about them."""
    journal = Journal(folder)
    for name, size in sizes.items():
        journal.begin(name, size, "adopted")
        if size:
            journal.synced(name, [(0, size)])
    journal.close()


def boot_mark() -> str:
    """Changes when the machine starts anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # macOS: the time of the start does
        import psutil

        return str(int(psutil.boot_time()))


def _line(words: Any) -> bytes:
    text = json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%s %08x\n" % (text, zlib.crc32(text))


def _words(line: bytes) -> Any:
    text, _space, check = line.rpartition(b" ")
    try:
        return json.loads(text) if int(check, 16) == zlib.crc32(text) else None
    except ValueError:
        return None
