"""Keys for the address: made here, kept in a file that only its owner reads, shown once."""

from __future__ import annotations

import secrets
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.files import write_text
from appliance.locale import _


def new_key() -> str:
    """`sk-` and 256 random bits, safe in a URL and a shell."""
    return "sk-" + secrets.token_urlsafe(32)


def write_key_file(path: Path, key: str) -> None:
    """Replace the key file with one key, mode 0600."""
    write_text(path, key + "\n", mode=0o600)


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


def ensure_key_file(path: Path) -> str:
    """The key in the file; a new one is made where there is no file. Raises ApplianceError where others may read it."""
    if not path.exists():
        write_key_file(path, new_key())
    elif path.stat().st_mode & 0o077:
        raise ApplianceError(
            _("Others on this machine can read the key file {path}.").format(path=path),
            _("Its mode is {mode:o}.").format(mode=path.stat().st_mode & 0o777),
            _("Run `chmod 600 {path}`, or remove it: the next start makes a new one.").format(path=path),
        )
    return read_key(path)
