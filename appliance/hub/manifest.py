"""The manifest of a model folder: what stands in it and where it came from.

Written last: a folder without one is unfinished.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.files import read_json, sha256, write_json

NAME = "appliance-model.json"


def read(folder: Path) -> dict[str, Any] | None:
    """{source, reference, revision, files: {name: {size, sha256}}, created}; None where none can be read."""
    try:
        value = read_json(folder / NAME)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else None


def write(
    folder: Path, *, source: str, reference: str, revision: str | None, hashes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Say that a folder is whole. Files whose sha256 the caller does not know are read for it.

    source     huggingface | modelscope | folder | archive | merge | … : where the files came from
    reference  owner/name at a hub, or an absolute path
    revision   commit at the hub, or a fingerprint of the local source
    hashes     relative name to sha256 in hex
    """
    known = hashes or {}
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != NAME:
            files[name] = {"size": path.stat().st_size, "sha256": known.get(name) or sha256(path)}
    value = {
        "source": source,
        "reference": reference,
        "revision": revision,
        "files": files,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / NAME, value)
    return value


def differences(folder: Path, value: Mapping[str, Any]) -> list[str]:
    """Files that are missing or have another size than the manifest says (sha256 is not read: it takes minutes)."""
    wrong = []
    for name, entry in value["files"].items():
        try:
            same = (folder / name).stat().st_size == entry["size"]
        except (OSError, KeyError, TypeError):
            same = False
        if not same:
            wrong.append(str(name))
    return wrong
