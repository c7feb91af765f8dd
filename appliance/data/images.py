"""The images that rows name: are they there, and can they be read?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.data.rows import Row

_BEGINNINGS = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*",
)  # fmt: skip
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82"}
_TAIL = 4096  # bytes in which the end must stand: some programs write more behind it
_PARTS = ("messages", "prompt", "chosen", "rejected", "completion")


def named(row: Row) -> Iterator[Any]:
    """Every image of a row: a path, an address, a data: address, or an object with `path` or `bytes`."""
    given = row.get("images")
    yield from given if isinstance(given, list) else () if given is None else (given,)
    yield from _from_parts(row)


def _from_parts(row: Row) -> Iterator[Any]:
    for name in _PARTS:
        for one in row.get(name, ()):
            if isinstance(one["content"], str):
                continue
            for part in one["content"]:
                if isinstance(part, dict) and part.get("type") in ("image", "image_url"):
                    image = part.get("image_url", part.get("image", part.get("path", part.get("url"))))
                    image = image.get("url") if isinstance(image, dict) and "url" in image else image
                    if image is not None:  # without one, it marks the place of the next in `images`
                        yield image


def problem(row: Row, folder: Path) -> str:
    """Why a row's images can't be used: a reason, or "". Paths count from the data file's folder."""
    return next((reason for image in named(row) if (reason := _problem(image, folder))), "")


def _problem(image: Any, folder: Path) -> str:
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return "" if _whole(image[:16], image[-_TAIL:]) else "image_unreadable"
    if not isinstance(image, str) or not image.strip():
        return "image_missing"
    if image.startswith("data:"):
        return _problem_of_data(image)
    if image.startswith(("http://", "https://")):
        return "image_elsewhere"
    try:
        with (folder / image.removeprefix("file://")).open("rb") as file:
            head = file.read(16)
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return "" if _whole(head, file.read()) else "image_unreadable"
    except (OSError, ValueError):
        return "image_missing"


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
