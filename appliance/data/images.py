"""The images that rows name: are they there, and can they be read?"""

from __future__ import annotations

import base64
import binascii
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from appliance.data.rows import Row

_BEGINNINGS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*",
)  # fmt: skip
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82"}
_TAIL = 4096  # bytes in which the end must stand: some programs write more behind it


@dataclass(frozen=True)
class Images:
    """Where the images of a data file stand: in a folder, or in a zip, below a folder in it. Pickles."""

    place: Path
    below: str = ""

    def problem(self, row: Row) -> str:
        """Why a row's images can't be used: a reason, or ""."""
        return next((reason for image in row.get("images", ()) if (reason := self._problem(image))), "")

    def _problem(self, image: str) -> str:
        if image.startswith("data:"):
            return _problem_of_data(image)
        if image.startswith(("http://", "https://")):
            return "image_elsewhere"
        try:
            return "" if _whole(*self._ends(image.removeprefix("file://"))) else "image_unreadable"
        except (KeyError, FileNotFoundError, NotADirectoryError):  # zipfile says KeyError
            return "image_missing"
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError):
            # No permission, a damaged or encrypted entry of a zip, a compression that Python does not have.
            return "image_unreadable"

    def _ends(self, image: str) -> tuple[bytes, bytes]:
        """An image's first and last bytes."""
        if self.place.is_dir():
            with (self.place / self.below / image).open("rb") as file:
                head = file.read(16)
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _TAIL))
                return head, file.read()
        with zipfile.ZipFile(self.place) as archive:
            data = archive.read(self.below + image)
            return data[:16], data[-_TAIL:]


def _problem_of_data(image: str) -> str:
    try:
        raw = base64.b64decode(image.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return "image_unreadable"
    return "" if _whole(raw[:16], raw[-_TAIL:]) else "image_unreadable"


def _whole(head: bytes, tail: bytes) -> bool:
    """Whether this is the beginning and the end of an image in a usual format, as far as its marks tell."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    begin = next((mark for mark in _BEGINNINGS if head.startswith(mark)), None)
    return begin is not None and _ENDS.get(begin, b"") in tail
