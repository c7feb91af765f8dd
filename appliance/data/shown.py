"""The images that a row shows: their names, and the `<image>` marks in its texts.

Images are named beside the text (LLaVA, InternVL, ms-swift), by marks with numbers (MiniCPM-V: {"<image_00>": path},
MMMU: image_1 and `<image 1>`), or in the text itself (Qwen-VL: `Picture 1: <img>path</img>`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from appliance.data.rows import Message, Row, Unusable, contents, listed

IMAGE = "<image>"
_NAME = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)(\?.*)?$", re.I)
_WRITTEN = re.compile(r"<img>([^<>]{1,4096})</img>")
# How JPEG, PNG, GIF and WebP begin in base64: some tables hold images so, and say nothing of it.
_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")
_MARK = re.compile(r"<[^<>]{1,40}>")


def named_images(value: Any) -> list[str]:
    """Images as names: a path, an address, or data:image/…;base64. Things that name no image are left out."""
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = listed(value) or []
    if isinstance(value, list):
        return [name for one in value for name in named_images(one)]
    if isinstance(value, dict):
        if isinstance(value.get("data"), str) and value.get("type") == "base64":
            return [f"data:{value.get('media_type', 'image/png')};base64,{value['data']}"]
        if _by_marks(value):
            return [name for one in value.values() for name in named_images(one)]
        return named_images(value.get("bytes") or value.get("url") or value.get("path") or value.get("image"))
    if not isinstance(value, str):
        return []
    if value.startswith(_BASE64) and len(value) > 64:
        return [f"data:image/png;base64,{value}"]
    return [value] if value.startswith(("http://", "https://", "data:image/")) or _NAME.search(value) else []


def _by_marks(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(k, str) and _MARK.fullmatch(k) for k in value)


def taken_out(text: str, images: list[str]) -> str:
    """A text in which every `<img>name</img>` has become an `<image>` mark; the names are added to `images`."""

    def mark(match: re.Match[str]) -> str:
        names = named_images(match[1].strip())
        images.extend(names)
        return IMAGE if names else match[0]

    return _WRITTEN.sub(mark, text) if "<img>" in text else text


def show(row: Row, images: list[str], beside: Any) -> None:
    """Hang images on a row: those of its texts, and those named beside them.

    Each has its `<image>` mark; those without one stand before the first question. Raises Unusable.
    """
    images = [*images, *(_renamed(row, beside) if _by_marks(beside) else named_images(beside))]
    images = list(dict.fromkeys(images)) if len(set(images)) == sum(t.count(IMAGE) for t in contents(row)) else images
    if not images:
        return
    marks = sum(one["content"].count(IMAGE) for one in _prompted(row))
    if marks > len(images):
        raise Unusable("images_do_not_match")
    if marks < len(images):
        first = next((one for one in row.get("messages") or row.get("prompt") or () if one["role"] == "user"), None)
        if first is None:
            raise Unusable("images_do_not_match")
        first["content"] = "\n".join([*[IMAGE] * (len(images) - marks), first["content"]])
    row["images"] = images


def _renamed(row: Row, beside: dict[str, Any]) -> list[str]:
    """The images of marks of their own, in the order in which texts name them; each mark becomes `<image>`."""
    named = {mark: names[0] for mark, one in beside.items() if (names := named_images(one))}
    found: list[str] = []

    def mark(match: re.Match[str]) -> str:
        if match[0] in named:
            found.append(match[0])
            return IMAGE
        return match[0]

    for one in _prompted(row):
        one["content"] = _MARK.sub(mark, one["content"])
    return [named[one] for one in [*(one for one in named if one not in found), *found]]


def _prompted(row: Row) -> Iterator[Message]:
    """Messages that may show an image; the two sides of a preference pair say the same marks twice."""
    return (one for part in ("messages", "prompt", "completion", "chosen") for one in row.get(part, ()))
