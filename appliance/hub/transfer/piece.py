"""One request's bytes on their way into a file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.hub.transfer.limits import MIB
from appliance.hub.transfer.source import Answer, Wrong
from appliance.hub.transfer.target import Digest, Target
from appliance.locale import _

_BLOCK = MIB // 4  # bytes of one read at first: about what a socket holds on a fast line
_LARGEST_BLOCK = MIB // 2  # once they come full, where connections are few: every one of them holds its own
_BLOCKS = 8 * MIB  # in all
# Small reads (TLS gives 16 KiB at a time) are written together; but what had to be waited for is written soon, so that
# a kill costs next to nothing.
_ENOUGH = 256 * 1024
_SMALL = 64 * 1024
_LITTLE = 16 * 1024
_OLD_SECONDS = 1.0
_WAITED_SECONDS = 0.0005
# How long a connection that waits for its bytes lets them gather: the more connections, the longer, so that all
# together do not wake more often than the processor can bear; but not until what a socket holds at first is full.
_GATHER_SECONDS = 0.005
_GATHER_EACH_SECONDS = 0.00015
_KNOWN_SECONDS = 1.5  # before that, nothing can be said about a connection's speed


class Cut(Exception):
    """The body ended before its time, or its connection was given up."""


@dataclass(eq=False)
class Piece:
    """Bytes start..end of a file, on their way. `at`: the next byte; `came`: bytes read.

    `end` may be brought forward by another connection that takes over the rest; `given_up` ends it from outside.
    """

    target: Target
    digest: Digest
    start: int
    end: int
    at: int = 0
    came: int = 0
    began: float = 0.0
    answer: Answer | None = None
    given_up: bool = False
    block: int = _BLOCK  # bytes of one read, at most
    largest_block: int = _LARGEST_BLOCK
    gather: float = 0.0  # seconds to wait for more where the line is slower than the reads
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.at = self.start

    def seconds_left(self) -> float:
        """At the speed so far; 0 while that can't be known."""
        passed = time.monotonic() - self.began
        return (self.end - self.at) * passed / max(1, self.came) if passed > _KNOWN_SECONDS else 0.0

    def rate(self, now: float, window: float) -> float | None:
        """Bytes a second over the last `window` seconds; None as long as it is younger. To be asked often."""
        self._marks.append((now, self.came))
        while len(self._marks) > 2 and self._marks[1][0] <= now - window:
            self._marks.popleft()
        began, before = self._marks[0]
        return (self.came - before) / (now - began) if now - began >= window else None

    def share(self, connections: int) -> None:
        """Be one of so many connections, in memory and processor time."""
        self.largest_block = max(_BLOCK, min(_LARGEST_BLOCK, _BLOCKS // connections))
        self.gather = max(_GATHER_SECONDS, connections * _GATHER_EACH_SECONDS)

    def give_up(self) -> None:
        """From another thread: end it now."""
        self.given_up = True
        if self.answer:
            self.answer.interrupt()

    def read(self, answer: Answer, told: Callable[[int], None]) -> None:
        """Bring the bytes from the answer into the file. `told` gets the count of new ones.

        Raises Cut, Wrong, DiskTrouble, Outdated, and what urllib3 raises.
        """
        held: list[bytes] = []
        size, since = 0, time.monotonic()
        try:
            while self.at + size < self.end:
                asked = time.monotonic()
                block = answer.read(min(self.block, self.end - self.at - size))
                if self.given_up:
                    # After an interruption, what is read may be anything: TLS has been cut off.
                    raise Cut(_("The connection was too slow."))
                if not block:
                    raise Cut(_("The connection ended too early."))
                if not answer.ranged and self.at + size + len(block) == self.end and answer.read(1):
                    raise Wrong(_("{file} is longer there than listed.").format(file=self.target.name))
                if len(block) == self.block:
                    self.block = min(self.largest_block, 2 * self.block)
                elif len(block) < self.block // 4:
                    self.block = max(_BLOCK, self.block // 2)
                held.append(block)
                size += len(block)
                self.came += len(block)
                now = time.monotonic()
                waited = now - asked > _WAITED_SECONDS
                if size >= _ENOUGH or (waited and size >= _LITTLE) or now - since > _OLD_SECONDS:
                    self._write(held, size, told)
                    held, size, since = [], 0, now
                if waited and len(block) < _SMALL:
                    time.sleep(self.gather)  # the line is slower than this: fewer and larger reads
        finally:
            if held:
                self._write(held, size, told)

    def _write(self, held: list[bytes], size: int, told: Callable[[int], None]) -> None:
        new = self.target.write(self.digest, self.at, held)
        self.at += size
        told(new)
