"""A text file cut into blocks of whole rows, in UTF-8: cheap enough for one process to feed several others.

Where a row ends is seen by its line end, in tables by a line end after an even number of quotation marks. That is a
guess where somebody wrote 5" without quoting it: whoever parses a block sees whether it ends inside a row, and gets it
joined with what follows (`in_order`). So nothing is read differently because the file was cut.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

from appliance.data.search import count
from appliance.errors import ApplianceError
from appliance.locale import _

SIZE = 1 << 21  # bytes in a block, where lines are shorter than that
AHEAD = 8  # blocks that are under way at once
_LONGEST_ROW = 64 << 20  # bytes: where a quotation mark is not closed until then, it never will be
_MOST_UNPACKED = 200  # times its size that a gz archive may hold
_TRIED_ENDS = 2000  # line ends that are tried before the count of quotation marks is taken for wrong

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Whole rows of a file. `line` is the first one's, from 1. Without `data` they stand at `start` in the file.

    `ends`: how many line ends they have.
    """

    line: int
    start: int
    size: int
    ends: int
    data: bytes | None
    last: bool = False


@dataclass(frozen=True)
class Text:
    """A text file and how it is read. `damaged` bytes become U+FFFD; `old_ends` are those of a Mac before 2001."""

    file: Path
    encoding: str
    damaged: bool = False
    old_ends: bool = False

    @property
    def plain(self) -> bool:
        """Whether the file's own bytes are the blocks'."""
        return self.encoding in ("utf-8", "utf-8-sig") and not (self.damaged or self.old_ends or is_gzip(self.file))

    @property
    def known_size(self) -> int:
        """Bytes of text in the file, where that can be told without reading it; else 0."""
        return self.file.stat().st_size if self.plain else 0

    def opened(self) -> IO[str]:
        """The text, line ends as they stand."""
        errors = "replace" if self.damaged else "strict"
        return io.TextIOWrapper(open_bytes(self.file), encoding=self.encoding, errors=errors, newline="")

    def blocks(self, quoted: bool) -> Iterator[Block]:
        """The file in blocks; `quoted`: rows may go over several lines between quotation marks."""
        plain = self.plain  # then whoever needs a block's bytes reads them from the file
        line, before = 1, None
        for start, data, size in self._in_place(quoted) if plain else self._decoded(quoted):
            if not size:
                raise self._too_long(line)
            if before:
                yield before
            before = Block(line, start, size, count(data, b"\n", size), None if plain else bytes(data[:size]))
            line += before.ends
        if before:
            yield replace(before, last=True)

    def _in_place(self, quoted: bool) -> Iterator[tuple[int, bytearray, int]]:
        """(where a block begins in the file, its bytes and perhaps more, its size), in the same memory again and again.

        A size of 0: its first row is too long.
        """
        with readable(self.file), open(self.file, "rb", buffering=0) as opened:
            start = 3 if opened.read(3) == codecs.BOM_UTF8 else 0
            data = bytearray(SIZE)
            while there := _filled(opened.fileno(), data, start):
                end = there if there < len(data) else _end(data, quoted)
                if not end and len(data) <= _LONGEST_ROW:
                    data = bytearray(2 * len(data))
                    continue
                yield start, data, end
                start += end
                if len(data) > SIZE:
                    data = bytearray(SIZE)

    def _decoded(self, quoted: bool) -> Iterator[tuple[int, bytearray, int]]:
        """The same of a text that is not as it stands in the file; where a block begins, in UTF-8."""
        rest, wanted, start = bytearray(), SIZE, 0
        for piece in self._pieces():
            rest += piece
            if len(rest) < wanted:
                continue
            end = _end(rest, quoted)
            if not end and len(rest) <= _LONGEST_ROW:
                wanted *= 2
                continue
            yield start, rest, end
            start, wanted = start + end, SIZE
            del rest[:end]
        if rest:
            yield start, rest, len(rest)

    def read(self, block: Block) -> bytes:
        """A block's bytes."""
        if block.data is not None:
            return block.data
        with open(self.file, "rb", buffering=0) as opened:
            return os.pread(opened.fileno(), block.size, block.start)

    def _too_long(self, line: int) -> ApplianceError:
        return ApplianceError(
            _("{name} can't be read row by row.").format(name=self.file.name),
            _("The row at line {line} is longer than {size} MB.").format(line=line, size=_LONGEST_ROW >> 20),
            _("Save it as JSON lines (.jsonl): one object a line."),
        )

    def _pieces(self) -> Iterator[bytes]:
        with readable(self.file):
            if self.encoding in ("utf-8", "utf-8-sig") and not (self.damaged or self.old_ends):
                with open_bytes(self.file) as opened:
                    first = opened.read(SIZE)
                    yield first.removeprefix(codecs.BOM_UTF8)
                    while piece := opened.read(SIZE):
                        yield piece
                return
            with self.opened() as text:
                begun = False
                while part := text.read(SIZE):
                    part = part if begun else part.lstrip("\ufeff")
                    yield (part.replace("\r", "\n") if self.old_ends else part).encode(errors="replace")
                    begun = True


def _filled(handle: int, data: bytearray, start: int) -> int:
    """Read into all of `data`; how many bytes there were."""
    done, view = 0, memoryview(data)
    while done < len(data) and (more := os.preadv(handle, [view[done:]], start + done)):
        done += more
    return done


def _end(data: bytearray, quoted: bool) -> int:
    """Behind the last row's line end; 0 when there is none."""
    last = end = data.rfind(b"\n")
    if not quoted or end < 0:
        return end + 1
    marks = count(data, b'"', end)
    for _try in range(_TRIED_ENDS):
        if marks % 2 == 0:
            return end + 1
        earlier = data.rfind(b"\n", 0, end)
        if earlier < 0:
            return 0 if len(data) < 4 * SIZE else last + 1
        marks -= data.count(b'"', earlier, end)
        end = earlier
    return last + 1


def in_order(
    text: Text,
    blocks: Iterator[Block],
    do: Callable[[Block], T | None],
    send: Callable[[Block], Future[T | None]] | None,
) -> Iterator[T]:
    """do(block) for each block, in order; `send` has it done elsewhere, ahead of time.

    Where `do` returns None the block ended inside a row, and it is done again with what follows it.
    """
    ahead: deque[tuple[Block, Future[T | None] | None]] = deque()
    window = AHEAD if send else 1

    def fill() -> None:
        while len(ahead) < window and (block := next(blocks, None)) is not None:
            ahead.append((block, send(block) if send else None))

    fill()
    while ahead:
        block, future = ahead.popleft()
        fill()
        done = future.result() if future else do(block)
        parts = 1
        while done is None:
            data = [text.read(block)]
            joined = block
            for _part in range(parts):
                fill()
                if ahead:
                    joined = ahead.popleft()[0]
                    data.append(text.read(joined))
            size = sum(map(len, data))
            whole = b"".join(data)
            ends = count(whole, b"\n", size)
            block = Block(block.line, block.start, size, ends, whole, joined.last or size > _LONGEST_ROW)
            parts *= 2
            done = do(block)
            if block.last and not joined.last:  # the rest of the file stands behind a mark that nobody closed
                ahead.clear()
                blocks = iter(())
        yield done


def is_gzip(file: Path) -> bool:
    """By its first bytes."""
    with file.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


class _Unpacked(io.RawIOBase):
    """What a gz archive holds, as long as that is believable: text shrinks to a tenth, a bomb to a thousandth."""

    def __init__(self, file: Path):
        self._opened = gzip.open(file, "rb")  # noqa: SIM115  # closed with this
        self._left = max(_MOST_UNPACKED * file.stat().st_size, _LONGEST_ROW)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        data = self._opened.read1(len(into))
        self._left -= len(data)
        if self._left < 0:
            raise gzip.BadGzipFile(_("it unpacks to more than {n} times its size").format(n=_MOST_UNPACKED))
        into[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._opened.close()
        super().close()


def open_bytes(file: Path) -> IO[bytes]:
    """The file's bytes, unpacked where it is a gz archive."""
    return io.BufferedReader(_Unpacked(file), SIZE) if is_gzip(file) else file.open("rb")


class readable:
    """Turns what gzip and decoders raise into an ApplianceError."""

    def __init__(self, file: Path):
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (gzip.BadGzipFile, EOFError, zlib.error)):
            raise ApplianceError(
                _("{name} can't be unpacked.").format(name=self.file.name),
                _("The gz archive is damaged or incomplete: {error}").format(error=error),
                _("Copy or download it again."),
            ) from error
        if isinstance(error, UnicodeError):
            raise ApplianceError(
                _("{name} can't be read as text.").format(name=self.file.name),
                str(error),
                _("Save it again as UTF-8."),
            ) from error
