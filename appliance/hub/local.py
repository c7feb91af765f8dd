"""A model from a folder or an archive on this machine: judged whole first, then only the needed files are taken.

Where a manifest came along (`appliance models export` writes one), every byte is held against it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.hub.needed import check_names, choose, hostile, why_hostile
from appliance.hub.verify import CHUNK, read_sha256
from appliance.locale import _

_JUNK = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True)
class Item:
    """A needed file: its name in the model and in the source, and its size in bytes."""

    name: str
    origin: str
    size: int


@dataclass(frozen=True)
class Found:
    """What a source holds. `carried`: the manifest that came along, None for a model from elsewhere."""

    items: list[Item]
    carried: dict[str, Any] | None

    @property
    def hashes(self) -> dict[str, str]:
        """Name to sha256, as the carried manifest says; empty without one."""
        return {name: entry["sha256"] for name, entry in self.carried["files"].items()} if self.carried else {}

    def origin(self, path: Path) -> dict[str, str | None]:
        """Where the model is from, in the manifest's words: the carried one's, else this path."""
        if self.carried:
            return {**{key: self.carried.get(key) for key in ("source", "reference", "revision")}, "through": str(path)}
        kind = "folder" if path.is_dir() else "archive"
        return {"source": kind, "reference": str(path), "revision": fingerprint(path), "through": None}


def look(source: Path) -> Found:
    """Judge a folder or an archive. Raises ApplianceError: hostile entries, no model, unreadable, not as listed."""
    if source.is_dir():
        names = [path.relative_to(source).as_posix() for path in source.glob("*") if path.is_file()]
        names += [path.relative_to(source).as_posix() for path in source.glob("additional_chat_templates/*.jinja")]
        sizes, top = {name: (source / name).stat().st_size for name in names}, ""
    else:
        sizes = _sizes(source)
        top = _single_folder(sizes)
        sizes = {name[len(top) :]: size for name, size in sizes.items() if name.startswith(top)}
    carried = None
    if manifest.NAME in sizes:
        carried = _carried(source, Item(manifest.NAME, top + manifest.NAME, sizes[manifest.NAME]))
        _check_carried(source, carried, sizes)
    return Found(
        [Item(name, top + name, sizes[name]) for name in choose(carried["files"] if carried else sizes)], carried
    )


def _carried(source: Path, item: Item) -> dict[str, Any]:
    value: Any = None
    if item.size <= manifest.LARGEST_BYTES:
        with reading(source):
            for _item, stream in _streams(source, [item]):
                with stream:
                    try:
                        value = json.loads(stream.read(item.size))
                    except (ValueError, RecursionError):
                        value = None
                break  # a compressed archive would be read to its end
    if manifest.is_sound(value):
        return dict(value)
    raise ApplianceError(
        _("The manifest ({file}) in {name} can't be read.").format(file=manifest.NAME, name=source.name),
        _("It is damaged, so nothing can be held against it."),
        _("Export the model once more."),
    )


def _check_carried(source: Path, carried: dict[str, Any], sizes: Mapping[str, int]) -> None:
    wrong = [_("{file} is missing.").format(file=name) for name in carried["files"] if name not in sizes]
    wrong += [
        _("{file} has {size} bytes instead of {wanted}.").format(file=name, size=sizes[name], wanted=entry["size"])
        for name, entry in carried["files"].items()
        if name in sizes and sizes[name] != entry["size"]
    ]
    if wrong:
        raise not_as_listed(source, wrong)


def not_as_listed(source: Path, wrong: list[str]) -> ApplianceError:
    """The source is not what the manifest in it says."""
    return ApplianceError(
        _("{name} is damaged: it is not what its own manifest says.").format(name=source.name),
        _("It was changed or cut since it was exported, or the stick is failing."),
        _("Export or copy it once more. Where it was changed on purpose, delete {file} in it first.").format(
            file=manifest.NAME
        ),
        wrong[:10],
    )


def fingerprint(path: Path) -> str:
    """Changes when the source's files change (names, sizes, times); stands where a hub has its commit."""
    files = [path] if path.is_file() else sorted(entry for entry in path.iterdir() if entry.is_file())
    seen = hashlib.sha256()
    for file in files:
        status = file.stat()
        seen.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return f"local-{seen.hexdigest()[:12]}"


def _sizes(source: Path) -> dict[str, int]:
    """Every file in an archive with its size. Raises ApplianceError for what no model has."""
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
    return sizes


def copy(
    source: Path,
    found: Found,
    folder: Path,
    moved: Callable[[int, str], None],
    check_stopped: Callable[[], None],
) -> dict[str, str]:
    """Write the files into a folder, durably. Returns name to sha256.

    What stands there already with the carried manifest's sha256 is kept: there a killed import goes on. Other bytes
    than the manifest's raise ApplianceError. `moved(bytes, name)` is called for every piece; never more bytes are
    written than were announced.
    """
    known = found.hashes
    hashes = {item.name: known[item.name] for item in found.items if _stands(item, folder, known, moved, check_stopped)}
    with reading(source):
        for item, stream in _streams(source, [item for item in found.items if item.name not in hashes]):
            target = folder / item.name
            target.parent.mkdir(exist_ok=True)
            target.unlink(missing_ok=True)
            digest, size = hashlib.sha256(), 0
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with stream, os.fdopen(handle, "wb") as file:
                while block := stream.read(min(CHUNK, item.size - size + 1)):
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
            if known and known[item.name] != hashes[item.name]:
                target.unlink()
                raise not_as_listed(source, [_("{file} has another checksum.").format(file=item.name)])
    return hashes


def _stands(
    item: Item,
    folder: Path,
    known: Mapping[str, str],
    moved: Callable[[int, str], None],
    check_stopped: Callable[[], None],
) -> bool:
    path = folder / item.name
    if item.name not in known or not path.is_file() or path.stat().st_size != item.size:
        return False
    with path.open("rb") as file:
        os.fsync(file.fileno())
    if read_sha256(path, lambda _count: None, check_stopped) != known[item.name]:
        return False
    moved(item.size, item.name)
    return True


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
