"""The manifest of a model folder: what stands in it and where it came from.

Written last: a folder without one is unfinished. It travels with a model that is exported, and what is brought from
another machine is held against it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.files import read_json, sha256, write_json
from appliance.hub.needed import why_hostile
from appliance.hub.transfer import journal

NAME = "appliance-model.json"
LARGEST_BYTES = 64 * 1024 * 1024  # of a manifest that a stranger wrote
# The kernel's clock for files ticks every 1 to 10 ms; network file systems round to a second at worst.
_FRESH_NS = 2_000_000_000


def read(folder: Path) -> dict[str, Any] | None:
    """{source, reference, revision, files: {name: {size, sha256, state}}, created}; None where none can be read.

    After `appliance models verify` also `verified` (when), and `damaged`: the names of files that were wrong then.
    """
    try:
        value = read_json(folder / NAME)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else None


def is_sound(value: Any) -> bool:
    """Whether this reads as a manifest in every part: for one that came from elsewhere."""
    if not isinstance(value, dict) or not isinstance(value.get("files"), dict) or not value["files"]:
        return False
    origin = (value.get("source"), value.get("reference"), value.get("revision") or "")
    return all(isinstance(word, str) and len(word) < 1000 and word.isprintable() for word in origin) and all(
        isinstance(name, str)
        and not why_hostile(name)
        and isinstance(entry, dict)
        and type(entry.get("size")) is int
        and entry["size"] >= 0
        and re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256")))
        for name, entry in value["files"].items()
    )


def write(
    folder: Path,
    *,
    source: str,
    reference: str,
    revision: str | None,
    hashes: Mapping[str, str] | None = None,
    through: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Say that a folder is whole. Files whose sha256 the caller does not know are read for it.

    source     huggingface | modelscope | folder | archive | merge | … : where the files came from
    reference  owner/name at a hub, or an absolute path
    revision   commit at the hub, or a fingerprint of the local source
    hashes     relative name to sha256 in hex
    through    the exported folder or archive that brought it from another machine
    more       what else whoever made it wants to be known
    """
    known = hashes or {}
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in (NAME, journal.NAME):
            state = _state(path)
            files[name] = {"size": path.stat().st_size, "sha256": known.get(name) or sha256(path), "state": state}
    value = {
        "source": source,
        "reference": reference,
        "revision": revision,
        "files": files,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **(more or {}),
    }
    if through:
        value["through"] = through
    write_json(folder / NAME, value)
    return value


def is_adapter(folder: Path) -> bool:
    """Whether this is an adapter and no model. One that a fine-tune has made has no manifest."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def mark(folder: Path, damaged: Sequence[str]) -> None:
    """Keep in the manifest what reading every byte has shown: the names of wrong files, or none."""
    value = read(folder)
    if value is None:
        return
    value.pop("damaged", None)
    if damaged:
        value["damaged"] = sorted(damaged)
    write_json(folder / NAME, {**value, "verified": datetime.now(UTC).isoformat(timespec="seconds")})


def marked(value: Mapping[str, Any]) -> list[str]:
    """The files that were wrong when every byte was read last."""
    names = value.get("damaged")
    return [str(name) for name in names] if isinstance(names, list) else []


def unchanged(folder: Path, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether nobody wrote to this file since its sha256 was taken, so that it need not be read to know it.

    The kernel sets the time of a change itself; only a failing disk can change a byte without it.
    """
    return bool(entry.get("state")) and _state(folder / name) == entry["state"]


def _state(path: Path) -> str:
    """Another one after every change of the file; "" for a file so fresh that a change may bear the same time."""
    status = os.stat(path)
    if abs(time.time_ns() - status.st_ctime_ns) < _FRESH_NS:
        return ""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def differences(folder: Path, value: Mapping[str, Any]) -> list[str]:
    """Files that are missing, have another size than the manifest says, or were found damaged by a verify.

    sha256 is not read here: that takes minutes.
    """
    wrong = set(marked(value))
    for name, entry in value["files"].items():
        try:
            same = (folder / name).stat().st_size == entry["size"]
        except (OSError, KeyError, TypeError):
            same = False
        if not same:
            wrong.add(str(name))
    return sorted(wrong)
