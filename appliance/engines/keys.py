"""Keys for the address: made here, each in a file that only its owner reads, shown once.

The workspace's keys stand in one folder, a file each, and open every server of it that wants a key. A running server
sees at once when one is added or revoked.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import settings
from appliance.engines.keyring import SUFFIX, key_files
from appliance.errors import ApplianceError, UsageError
from appliance.files import sync_folder, write_text
from appliance.locale import _

FIRST = "default"


def new_key() -> str:
    """`sk-` and 256 random bits, safe in a URL and a shell."""
    return "sk-" + secrets.token_urlsafe(32)


def read_key(path: Path) -> str:
    """The first key in the file. Raises OSError, and ApplianceError when there is none in it."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key = line.strip().rpartition(":")[2]
        if key:
            return key
    raise ApplianceError(
        _("The key file {path} holds no key.").format(path=path),
        next_step=_("Remove it: the next start makes a new one."),
    )


def ensure(path: Path) -> tuple[Path, bool]:
    """A key file to show a person, and whether its key was made now.

    `path` is the workspace's folder of keys, where the first key is made when there is none, or a person's own file.
    Raises ApplianceError where others may read it.
    """
    if path == settings.keys_folder():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        here = key_files(path)
        path = next((file for file in here if file.stem == FIRST), here[0] if here else path / (FIRST + SUFFIX))
    made = not path.exists()
    if made:
        write_text(path, new_key() + "\n", mode=0o600)
    elif path.stat().st_mode & 0o077:
        raise ApplianceError(
            _("Others on this machine can read the key file {path}.").format(path=path),
            _("Its mode is {mode:o}.").format(mode=path.stat().st_mode & 0o777),
            _("Run `chmod 600 {path}`, or remove it: the next start makes a new one.").format(path=path),
        )
    read_key(path)
    return path, made


def everyone() -> list[dict[str, Any]]:
    """[{name, file, made}]: the workspace's keys, never what stands in them."""
    try:
        found = key_files(settings.keys_folder())
    except OSError:
        return []
    return [
        {
            "name": file.stem,
            "file": str(file),
            "made": datetime.fromtimestamp(file.stat().st_mtime).astimezone().isoformat(timespec="seconds"),
        }
        for file in found
    ]


def add(name: str) -> str:
    """A new key of this name. Raises UsageError for a name that is none, ApplianceError when there is one already."""
    path = _file_of(name)
    if path.exists():
        raise ApplianceError(
            _("There is a key {name} already.").format(name=name),
            _("A key is shown only once, when it is made."),
            _("Choose another name, or revoke that one first: appliance keys revoke {name}").format(name=name),
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = new_key()
    write_text(path, key + "\n", mode=0o600)
    return key


def revoke(name: str) -> None:
    """Remove a key: running servers refuse it from the next request on. Raises ApplianceError when there is none."""
    path = _file_of(name)
    try:
        path.unlink()
    except FileNotFoundError:
        raise ApplianceError(
            _("There is no key {name}.").format(name=name), next_step=_("See them all: appliance keys list")
        ) from None
    sync_folder(path.parent)


def is_name(name: str) -> bool:
    """Whether a key can be called so."""
    return bool(re.fullmatch(r"[\w-][\w.-]{0,63}", name))


def _file_of(name: str) -> Path:
    if not is_name(name):
        raise UsageError(
            _("{name} is no name for a key.").format(name=name), "", _("Use letters, digits, dots and dashes.")
        )
    return settings.keys_folder() / (name + SUFFIX)
