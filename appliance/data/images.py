"""The images that rows name: are they there, and can they be read? And a job's own copies of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shutil
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
_KINDS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# Bytes of one image: a photograph has some ten million, and what has more is no photograph.
LARGEST_BYTES = 64 * 2**20
# What reading an image raises: zipfile says KeyError for a name that is not there, RuntimeError for an encrypted one.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


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
        except UNREADABLE:
            # No permission, a damaged or encrypted entry of a zip, a compression that Python does not have.
            return "image_unreadable"

    def read(self, image: str) -> bytes:
        """A whole image. Raises one of UNREADABLE; a ValueError for one that is too large or in the net."""
        if image.startswith("data:"):
            data = base64.b64decode(image.partition(",")[2], validate=True)
        elif image.startswith(("http://", "https://")):
            raise ValueError(image)
        elif self.place.is_dir():
            with (self.place / self.below / image.removeprefix("file://")).open("rb") as file:
                data = file.read(LARGEST_BYTES + 1)
        else:
            with (
                zipfile.ZipFile(self.place) as archive,
                archive.open(self.below + image.removeprefix("file://")) as packed,
            ):
                data = packed.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise ValueError(image)
        return data

    def copied(self, row: Row, to: Path, known: dict[str, str]) -> Row:
        """The row with names of its own images in the folder `to`: linked where that is possible, else copied.

        known  images that are there already, by the names that rows give them; added to
        """
        names = []
        for image in row["images"]:
            inside = image.startswith("data:")
            key = hashlib.sha256(image.encode()).hexdigest() if inside else image
            if key not in known:
                to.mkdir(exist_ok=True)
                kind = "" if inside else Path(image).suffix.lower()
                known[key] = f"{len(known):07d}{kind if kind in _KINDS else ''}"
                self.put(image, to / known[key])
            names.append(known[key])
        return {**row, "images": names}

    def put(self, image: str, target: Path) -> None:
        """An image at `target`: linked where that is possible, else copied. Raises one of UNREADABLE."""
        plain = self.place / self.below / image.removeprefix("file://")
        if image.startswith("data:") or not self.place.is_dir():
            target.write_bytes(self.read(image))
            return
        try:
            os.link(plain.resolve(), target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(plain, target)

    def _ends(self, image: str) -> tuple[bytes, bytes]:
        """An image's first and last bytes."""
        if self.place.is_dir():
            with (self.place / self.below / image).open("rb") as file:
                head = file.read(16)
                size = file.seek(0, 2)
                if size > LARGEST_BYTES:
                    raise ValueError(image)
                file.seek(max(0, size - _TAIL))
                return head, file.read()
        data = self.read(image)
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
