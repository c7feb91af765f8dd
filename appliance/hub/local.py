"""A model from a folder or an archive on this machine: judged whole first, then only the needed files are taken."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appliance.errors import ApplianceError
from appliance.hub.needed import check_names, choose, hostile, why_hostile
from appliance.locale import _

_CHUNK = 4 * 1024 * 1024
_JUNK = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True)
class Item:
    """A needed file: its name in the model and in the source, and its size in bytes."""

    name: str
    origin: str
    size: int


def fingerprint(path: Path) -> str:
    """Changes when the source's files change (names, sizes, times); stands where a hub has its commit."""
    files = [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.is_file())
    seen = hashlib.sha256()
    for file in files:
        status = file.stat()
        seen.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return f"local-{seen.hexdigest()[:12]}"


def items(source: Path) -> list[Item]:
    """The needed files of a folder or an archive. Raises ApplianceError: hostile entries, no model, unreadable."""
    if source.is_dir():
        names = [path.relative_to(source).as_posix() for path in source.glob("*") if path.is_file()]
        names += [path.relative_to(source).as_posix() for path in source.glob("additional_chat_templates/*.jinja")]
        return [Item(name, name, (source / name).stat().st_size) for name in choose(names)]
    what = _("The archive {name} is refused.").format(name=source.name)
    with reading(source):
        sizes = zip_members(source, what) if _is_zip(source) else _tar_members(source, what)
    check_names(sizes, what)
    folded: dict[str, str] = {}
    clashes = [
        _("{one} and {other} differ only in case.").format(one=folded[name.casefold()], other=name)
        for name in sizes
        if folded.setdefault(name.casefold(), name) != name
    ]
    if clashes:
        raise hostile(what, clashes)
    top = _single_folder(sizes)
    return [
        Item(name, top + name, sizes[top + name]) for name in choose(n[len(top) :] for n in sizes if n.startswith(top))
    ]


def copy(
    source: Path, wanted: list[Item], folder: Path, moved: Callable[[int, str], None], check_stopped: Callable[[], None]
) -> dict[str, str]:
    """Write the files into an empty folder, durably. Returns name to sha256.

    `moved(bytes, name)` is called for every piece; never more bytes are written than were announced.
    """
    hashes: dict[str, str] = {}
    with reading(source):
        for item, stream in _streams(source, wanted):
            target = folder / item.name
            target.parent.mkdir(exist_ok=True)
            digest, size = hashlib.sha256(), 0
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with stream, os.fdopen(handle, "wb") as file:
                while block := stream.read(min(_CHUNK, item.size - size + 1)):
                    check_stopped()
                    size += len(block)
                    if size > item.size:
                        break
                    digest.update(block)
                    file.write(block)
                    moved(len(block), item.name)
                file.flush()
                os.fsync(file.fileno())
            if size != item.size:
                raise ApplianceError(
                    _("{file} has another size than announced.").format(file=item.name),
                    _("It changed while it was copied, or the archive is damaged."),
                    _("Make the archive or the copy again and import it once more."),
                )
            hashes[item.name] = digest.hexdigest()
    return hashes


def _streams(source: Path, wanted: list[Item]) -> Iterator[tuple[Item, IO[bytes]]]:
    if source.is_dir():
        for item in wanted:
            yield item, (source / item.origin).open("rb")
    elif _is_zip(source):
        with zipfile.ZipFile(source) as archive:
            for item in wanted:
                yield item, archive.open(item.origin)
    else:
        by_origin = {item.origin: item for item in wanted}
        with tarfile.open(source) as tar:
            for member in tar:  # in the archive's order: a compressed tar can't be read backwards
                found = by_origin.pop(_plain(member.name), None)
                stream = tar.extractfile(member) if found else None
                if found and stream:
                    yield found, stream


@contextmanager
def reading(source: Path) -> Iterator[None]:
    """What goes wrong in an archive, as an ApplianceError."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _broken(source, error) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the file's beginning: zipfile goes where the archive says
            raise
        raise _broken(source, error) from None


def _broken(source: Path, error: Exception) -> ApplianceError:
    return ApplianceError(
        _("The archive {name} can't be read.").format(name=source.name),
        str(error) or _("It ends too early."),
        _("It is probably incomplete: copy it again. Known kinds: .tar, .tar.gz, .tgz, .zip."),
    )


def _plain(name: str) -> str:
    # `tar -C folder .` writes ./config.json: harmless and common.
    return name[2:] if name.startswith("./") else name


def _is_zip(source: Path) -> bool:
    """By its name: a tar that holds a zip (PyTorch's .bin is one) looks like a zip from its end."""
    return source.name.lower().endswith(".zip")


def _tar_members(source: Path, what: str) -> dict[str, int]:
    """Regular files and their sizes. Raises for links, devices, sparse files and for an unbelievable total."""
    limit = _room(source)
    sizes: dict[str, int] = {}
    problems: list[str] = []
    with tarfile.open(source) as tar:
        for member in tar:
            name = _plain(member.name)
            if member.isdir():
                if name not in ("", ".") and why_hostile(name):
                    problems.append(f"{member.name!r}: {why_hostile(name)}")
                continue
            if member.issym() or member.islnk():
                problems.append(_("{name}: it is a link (pack again with `tar -h`)").format(name=repr(member.name)))
            elif not member.isreg() or member.issparse():
                problems.append(_("{name}: it is a device or another special file").format(name=repr(member.name)))
            elif name in sizes:
                problems.append(_("{name}: it is there twice").format(name=repr(member.name)))
            sizes[name] = member.size
            if _exceed(sizes, limit) or len(problems) >= 10:
                # At once: the next header of a compressed tar lies behind this member's bytes.
                problems += [_too_large(sizes, limit)] if _exceed(sizes, limit) else []
                break
    if problems:
        raise hostile(what, problems)
    return sizes


def zip_members(source: Path, what: str) -> dict[str, int]:
    """Regular files of a zip and their sizes. Raises ApplianceError: hostile entries, an unbelievable total."""
    limit = _room(source)
    sizes: dict[str, int] = {}
    problems: list[str] = []
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            # zipfile cuts a name at NUL; the original is what has to be judged.
            name = member.orig_filename
            mode = member.external_attr >> 16
            if name.endswith("/") and not why_hostile(name[:-1]):
                continue
            if stat.S_ISLNK(mode):
                problems.append(_("{name}: it is a link").format(name=repr(name)))
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                problems.append(_("{name}: it is a device or another special file").format(name=repr(name)))
            elif member.flag_bits & 1:
                problems.append(_("{name}: it is encrypted").format(name=repr(name)))
            elif name in sizes:
                problems.append(_("{name}: it is there twice").format(name=repr(name)))
            sizes[name] = member.file_size
    if _exceed(sizes, limit):
        problems.append(_too_large(sizes, limit))
    if problems:
        raise hostile(what, problems)
    return sizes


def _room(source: Path) -> int:
    # No honest archive unpacks to more than this; a bomb does. Weights hardly compress, so 20 times is generous.
    return max(20 * source.stat().st_size, 64 * 1024 * 1024)


def _exceed(sizes: dict[str, int], limit: int) -> bool:
    return sum(sizes.values()) > limit


def _too_large(sizes: dict[str, int], limit: int) -> str:
    return _("it unpacks to {size} bytes and more; for its own size at most {limit} are believable").format(
        size=sum(sizes.values()), limit=limit
    )


def _single_folder(names: dict[str, int]) -> str:
    """`folder/` when everything stands in one folder, else ""."""
    real = [name for name in names if not name.startswith(_JUNK) and not name.rsplit("/", 1)[-1].startswith("._")]
    first = {name.split("/", 1)[0] for name in real if "/" in name}
    return f"{first.pop()}/" if len(first) == 1 and all("/" in name for name in real) else ""
