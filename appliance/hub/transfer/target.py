"""One file on its way to the disk: preallocated, written at any place, hashed in order as its bytes come."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from appliance.hub.hubs import HubFile
from appliance.hub.transfer.journal import Journal, Known
from appliance.hub.transfer.ranges import Ranges

_BLOCK = 1024 * 1024  # bytes that are read and hashed at once
_NEAR = 8 * _BLOCK  # bytes so shortly after the hashed ones are kept in memory, so that they need not be read again
_NO_PREALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)


class DiskTrouble(Exception):
    """The disk refused something. `error`: what it said."""

    def __init__(self, error: OSError):
        super().__init__(str(error))
        self.error = error

    @property
    def is_full(self) -> bool:
        """Whether it is only a matter of room."""
        return self.error.errno in (errno.ENOSPC, errno.EDQUOT)


class Lost(DiskTrouble):
    """An fsync has failed: what was written since the last good one may be gone, though reading may still show it."""

    def __init__(self, target: Target, error: OSError):
        super().__init__(error)
        self.target = target


class Outdated(Exception):
    """The bytes belong to a content that was given up meanwhile."""


class Digest:
    """The hashes over the first `done` bytes. Its identity names the content that is being written."""

    def __init__(self, file: HubFile):
        self.done = 0
        self.sha256 = hashlib.sha256()
        self._sha1 = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False) if file.git_sha1 else None

    def update(self, block: bytes) -> None:
        """The next bytes."""
        self.sha256.update(block)
        if self._sha1:
            self._sha1.update(block)
        self.done += len(block)

    def agrees(self, file: HubFile) -> bool:
        """Whether these are the bytes that the hub lists."""
        return (not file.sha256 or self.sha256.hexdigest() == file.sha256.lower()) and (
            not (file.git_sha1 and self._sha1) or self._sha1.hexdigest() == file.git_sha1.lower()
        )


class Target:
    """A file of the staging folder.

    have     what is written; free: what is neither written nor on its way
    whole    every byte is here, agrees with the hub's checksum and is on the disk
    sha256   once it is whole
    """

    def __init__(self, folder: Path, file: HubFile, revision: str, journal: Journal):
        self.file, self.name, self.size = file, file.name, file.size
        self._path = folder / file.name
        self._journal = journal
        self.mark = _mark(file, revision)
        self.whole = False
        self.sha256 = ""
        self.ranged = True  # until the server ignores a range
        self.active = 0  # requests under way
        self.times_bad = self.times_changed = self.wrong_answers = self.barren = 0
        self.hold_until = 0.0
        self.hashing = False
        self._lock = threading.Lock()
        self._handle = -1
        self._closed = False
        self._followed = False  # somebody hashes what is written
        self._fresh: dict[int, bytes] = {}  # what was just written, by its place
        known = journal.known.get(self.name)
        if known and not self._fits(known):
            known = None
        self.have = known.have if known else Ranges()
        self._synced = known.synced if known else Ranges()
        self.validator = known.validator if known else None
        self.inherited = self.have.total > 0  # brought by an earlier run: not yet seen by this one
        self._said = known is not None and known.mark == self.mark
        self.free = Ranges([(0, self.size)]).minus(self.have)
        self.digest = Digest(file)

    def _fits(self, known: Known) -> bool:
        """Whether the bytes of an earlier run are of use. One whole file may be: its checksum will tell."""
        if self._path.is_symlink() or not self._path.is_file() or self._path.stat().st_size != self.size:
            return False
        checked = bool(self.file.sha256 or self.file.git_sha1)
        return known.size == self.size and (known.mark == self.mark or (checked and known.have.total == self.size))

    @property
    def here(self) -> bool:
        """Every byte is here; whether the right ones is not known yet."""
        return self.have.total == self.size

    def write(self, digest: Digest, offset: int, blocks: Sequence[bytes]) -> int:
        """Put bytes to their place; returns how many of them are new. Raises DiskTrouble, Outdated."""
        length = sum(map(len, blocks))
        # One writer at a time: the kernel has one lock for each file anyway, and so a block of a content that was
        # given up can never land on one of its successor.
        with self._lock:
            if self._closed or digest is not self.digest:
                raise Outdated
            missing = self.have.missing(offset, offset + length)
            try:
                block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
                for start, end in missing:  # never over what is here: it may be hashed already
                    handle, rest = self._open(), memoryview(block)[start - offset : end - offset]
                    while rest:  # not os.pwritev: macOS may lack it
                        rest = rest[os.pwrite(handle, rest, end - len(rest)) :]
                    self._journal.wrote(self.name, start, end)
                    self.have.add(start, end)
            except OSError as error:
                raise DiskTrouble(error) from None
            if self._followed and missing == [(offset, offset + length)] and 0 <= offset - digest.done < _NEAR:
                self._fresh[offset] = block
            return sum(end - start for start, end in missing)

    def see(self, digest: Digest, origin: str, etag: str) -> bool:
        """Note what the origin calls the content that is being brought. False when it called it otherwise before."""
        with self._lock:
            if self._closed or digest is not self.digest:
                raise Outdated
            if self.validator and self.validator[0] == origin:
                return not etag or etag == self.validator[1]
            if etag:
                self.validator = (origin, etag)
                try:
                    self._open()
                    self._journal.validator(self.name, origin, etag)
                except OSError as error:
                    raise DiskTrouble(error) from None
            return True

    def forget(self) -> None:
        """Give up every byte: they are not what they should be."""
        with self._lock:
            self.validator = None
            self._keep(Ranges())

    def distrust(self) -> None:
        """Give up what no fsync has vouched for, and what was hashed: it is read again from the disk."""
        with self._lock:
            self._keep(self._synced)

    def _keep(self, kept: Ranges) -> None:
        self.digest = Digest(self.file)
        self._fresh.clear()
        self.have, self._synced = Ranges(kept.spans), Ranges(kept.spans)
        self.free = Ranges([(0, self.size)]).minus(kept)
        self.whole = False
        if self._closed:
            return
        try:
            self._journal.begin(self.name, self.size, self.mark)
            self._journal.synced(self.name, kept.spans)
        except OSError as error:
            raise DiskTrouble(error) from None

    def remove(self) -> None:
        """Take the file away."""
        with self._lock:
            self._drop_handle()
            self._path.unlink(missing_ok=True)

    def follow(self, really: bool) -> None:
        """Keep what is written in memory for a moment, to be hashed from there; or no longer."""
        with self._lock:
            self._followed = really
            if not really:
                self._fresh.clear()

    def hash_some(self, limit: int) -> bool:
        """Hash about `limit` of the bytes that follow the hashed ones. Returns whether there were so many."""
        end = self.digest.done + limit
        while True:
            with self._lock:
                digest, start = self.digest, self.digest.done
                stop = min(end, self.have.prefix)
                if start >= stop:
                    return start >= end
                blocks = self._take_fresh(start, stop)
                try:
                    handle = self._open()
                except OSError as error:
                    raise DiskTrouble(error) from None
                stop = min([stop, *self._fresh])
            for block in blocks:
                digest.update(block)
            # Without the lock up to here: whoever hashes is behind, and must not make the writers wait at every block.
            while not blocks and (rest := stop - digest.done) > 0:
                digest.update(self._read(handle, digest.done, min(_BLOCK, rest)))

    def _take_fresh(self, start: int, stop: int) -> list[bytes]:
        """What is in memory from `start` on without a gap: several at once, for the writers want the lock as well."""
        for place in [place for place in self._fresh if place < start]:
            del self._fresh[place]
        blocks = []
        while start < stop and (block := self._fresh.pop(start, None)):
            blocks.append(block)
            start += len(block)
        return blocks

    def _read(self, handle: int, start: int, length: int) -> bytes:
        try:
            block = os.pread(handle, length, start)
        except OSError as error:
            raise DiskTrouble(error) from None
        if not block:
            raise DiskTrouble(OSError(errno.EIO, os.strerror(errno.EIO), str(self._path)))
        return block

    def finish(self) -> bool:
        """When all is hashed: make it durable and whole, or return False: the bytes are wrong.

        Raises Outdated when they were given up meanwhile, DiskTrouble.
        """
        digest = self.digest
        if digest.done != self.size:
            raise Outdated
        if not digest.agrees(self.file):
            return False
        self.sync()
        with self._lock:
            if digest is not self.digest or self._closed or self._synced.total != self.size:
                raise Outdated
            self.sha256 = digest.sha256.hexdigest()
            self._drop_handle()
            self.whole = True
        return True

    def sync(self) -> None:
        """Make what is written durable and say so in the journal."""
        with self._lock:
            spans = self.have.minus(self._synced).spans
            if self._closed or (not spans and self.size):
                return
            digest = self.digest
            try:
                handle = self._open()
                copy = os.dup(handle)
            except OSError as error:
                raise DiskTrouble(error) from None
        try:
            os.fsync(copy)
        except OSError as error:
            raise Lost(self, error) from None
        finally:
            os.close(copy)
        with self._lock:
            if digest is self.digest and not self._closed:
                for start, end in spans:
                    self._synced.add(start, end)
                try:
                    self._journal.synced(self.name, spans)
                except OSError as error:
                    raise DiskTrouble(error) from None

    def try_room(self) -> None:
        """See whether the disk has room again for the rest of this file. Raises DiskTrouble."""
        with self._lock:
            if self.whole or self._closed:
                return
            try:
                self._open()
                self._journal.rest()
            except OSError as error:
                raise DiskTrouble(error) from None

    def close(self) -> None:
        """No byte is written from here on, by whatever thread."""
        with self._lock:
            self._closed = True
            self._drop_handle()

    def _open(self) -> int:
        if self._handle >= 0:
            return self._handle
        if self._closed:
            raise Outdated
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._path, flags, 0o644)
        try:
            if os.fstat(handle).st_size != self.size:
                os.ftruncate(handle, 0)
                _allocate(handle, self.size, self._path)
            if not self._said:
                self._journal.begin(self.name, self.size, self.mark)
                for start, end in self.have.spans:
                    self._journal.wrote(self.name, start, end)
                self._journal.synced(self.name, self._synced.spans)
                self._said = True
        except OSError:
            os.close(handle)
            raise
        self._handle = handle
        return handle

    def _drop_handle(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _allocate(handle: int, size: int, path: Path) -> None:
    """Reserve the room, where the file system can: a full disk is then known before the bytes come."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            os.ftruncate(handle, 0)  # what was reserved so far is of no use
            if error.errno not in _NO_PREALLOCATION:
                error.filename = str(path)
                raise
    os.ftruncate(handle, size)


def _mark(file: HubFile, revision: str) -> str:
    """The content that the bytes must belong to. A checksum is the same at both hubs and over revisions."""
    if file.sha256:
        return f"sha256:{file.sha256.lower()}"
    return f"git:{file.git_sha1.lower()}" if file.git_sha1 else f"revision:{revision}"
