"""A folder or a zip with a data file and the images that its rows name."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.data.images import Images
from appliance.data.tables import Record
from appliance.errors import ApplianceError, UsageError
from appliance.hub import local
from appliance.hub.needed import check_names
from appliance.locale import _

_DATA = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".ndjson", ".gz")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_OURS = ("config.json", "dataset_info.json", "dataset_infos.json", "state.json")  # what sets have beside their rows
_MOST_FILES = 200_000


@dataclass
class Inside:
    """What is in a folder or a zip: the data file (of a zip: a copy of it), or rows of images with their captions."""

    images: Images
    data: Path | None
    captions: list[tuple[str, str]]  # (image, text), where there is no data file
    kept: tempfile.TemporaryDirectory[str] | None = None  # as long as this is in use


def is_archive(file: Path) -> bool:
    """Whether this is a zip, and no spreadsheet, which is one too."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return file.name.lower().endswith(".zip")
    return not names & {"[Content_Types].xml", "xl/workbook.xml", "mimetype"}


def look_inside(place: Path) -> Inside:
    """The one data file in a folder or a zip. Raises ApplianceError: none, several, hostile names, a bomb."""
    if place.is_dir():
        names = list(_names(place))
    else:
        what = _("The archive {name} is refused.").format(name=place.name)
        with local.reading(place):
            names = list(local.zip_members(place, what))
        check_names(names, what)
    found = [name for name in names if _is_data(name)]
    named = [name for name in found if Path(name).stem in ("metadata", "data", "train", place.stem)]
    if len(found) > 1 and len(named) != 1:
        raise UsageError(
            _("{name} holds several data files.").format(name=place.name),
            ", ".join(sorted(found)[:10]),
            _("Name the one to take, or keep only that one there."),
        )
    if found:
        name = (named or found)[0]
        below = name[: -len(Path(name).name)]
        if place.is_dir():
            return Inside(Images(place, below), place / name, [])
        kept = tempfile.TemporaryDirectory(prefix="appliance-")
        copy = Path(kept.name) / f"rows{''.join(Path(name).suffixes[-2:])}"
        with (
            local.reading(place),
            zipfile.ZipFile(place) as archive,
            archive.open(name) as packed,
            copy.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out, 1 << 20)
        return Inside(Images(place, below), copy, [], kept)
    texts = set(names)
    pairs = [(n, f"{n.rpartition('.')[0]}.txt") for n in sorted(names) if n.lower().endswith(_PICTURES)]
    captions = [(image, text) for image, text in pairs if text in texts]
    if captions:
        return Inside(Images(place), None, captions)
    raise ApplianceError(
        _("{name} holds no data file.").format(name=place.name),
        _("A folder or zip needs one file with the rows (jsonl, json, csv, xlsx, parquet), or a .txt for each image."),
        _("Put it beside the images, with a column that names the image of each row."),
    )


def caption_rows(inside: Inside) -> Iterator[Record]:
    """A row for each image with a text file of the same name."""
    for number, (image, text) in enumerate(inside.captions, 1):
        yield Record(number, {"image": image, "text": _text(inside.images, text)})


def _text(images: Images, name: str) -> str:
    try:
        if images.place.is_dir():
            data = (images.place / name).read_bytes()[: 1 << 20]
        else:
            with zipfile.ZipFile(images.place) as archive, archive.open(name) as packed:
                data = packed.read(1 << 20)
    except (OSError, zipfile.BadZipFile):
        return ""
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return data.decode("gb18030", errors="replace").strip()


def _names(folder: Path) -> Iterator[str]:
    """Regular files below a folder, three levels deep at most; links are not followed."""
    count = 0
    for root, folders, files in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = [] if depth > 2 else sorted(one for one in folders if not one.startswith("."))
        for name in sorted(files):
            count += 1
            if count > _MOST_FILES:
                return
            if not name.startswith(".") and not os.path.islink(os.path.join(root, name)):
                yield Path(root, name).relative_to(folder).as_posix()


def _is_data(name: str) -> bool:
    last = name.rsplit("/", 1)[-1].lower()
    hidden = name.startswith(("__MACOSX", ".")) or last.startswith((".", "~$"))
    return last.endswith(_DATA) and last not in _OURS and not hidden and name.count("/") < 3
