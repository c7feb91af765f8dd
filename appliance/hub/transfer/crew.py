"""The connections of one transfer: who brings which piece, how many at once, and what happens when one fails."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import urllib3

from appliance import output
from appliance.errors import ApplianceError, explain
from appliance.hub import hubs
from appliance.hub.transfer.limits import MIB, Limits
from appliance.hub.transfer.pace import Pace
from appliance.hub.transfer.source import Answer, Busy, Changed, Expired, Source, Wrong
from appliance.hub.transfer.target import Digest, DiskTrouble, Outdated, Target
from appliance.locale import _

_BLOCK = MIB // 4  # bytes of one read: about what a socket holds on a fast line
# Small reads (TLS gives 16 KiB at a time) are written together; but what had to be waited for is written soon, so that
# a kill costs next to nothing.
_ENOUGH = 64 * 1024
_LITTLE = 16 * 1024
_OLD_SECONDS = 1.0
_STEAL_SECONDS = 1.5
_WAITED_SECONDS = 0.0005
_GATHER_SECONDS = 0.005
_TICK = 0.05
_MOST_CHANGES = 3
_MOST_WRONG = 3


class Cut(Exception):
    """The body ended before its time, or its connection was given up."""


@dataclass(eq=False)
class Piece:
    """Bytes start..end of a file, on their way. `at`: the next byte; `end` may be brought forward by a helper."""

    target: Target
    digest: Digest
    start: int
    end: int
    at: int = 0
    came: int = 0
    began: float = 0.0
    answer: Answer | None = None
    given_up: bool = False
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.at = self.start

    def seconds_left(self) -> float:
        """At the speed so far; 0 while that can't be known."""
        passed = time.monotonic() - self.began
        return (self.end - self.at) * passed / max(1, self.came) if passed > _STEAL_SECONDS else 0.0


@dataclass
class State:
    """What a person is shown. `hashed`: of `done` bytes; `rate` in bytes a second over the last moments."""

    done: int
    hashed: int
    file: str
    file_done: int
    file_total: int
    rate: float
    connections: int
    retries: int
    waiting: str


class Crew:
    """Brings every target from one source. `run` returns when all are whole, or raises."""

    def __init__(self, source: Source, targets: Sequence[Target], limits: Limits, note: Callable[[str], None]):
        self._source, self._targets, self._limits, self._note = source, targets, limits, note
        self._change = threading.Condition()
        self._wake = threading.Event()  # for the thread that called: something has ended
        self._active: list[Piece] = []
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._full: DiskTrouble | None = None
        self._hold_until = 0.0
        self._waiting = ""
        self.new_bytes = 0
        self.retries = 0
        self._last_byte = time.monotonic()
        self._last_error = ""
        self._pace = Pace(limits)

    # --- the thread that called ----------------------------------------------------------------------------------

    def run(self, check_stopped: Callable[[], None], show: Callable[[State], None]) -> None:
        """Raises HubFailure when the hub can't or won't, ApplianceError, and whatever `check_stopped` raises."""
        helpers = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in self._helpers()]
        for helper in helpers:
            helper.start()
        self._last_byte = time.monotonic()
        try:
            while True:
                check_stopped()
                with self._change:
                    if self._failure:
                        raise self._failure
                    if all(target.whole for target in self._targets):
                        break
                    self._hire()
                self._wait_for_room(check_stopped)
                self._replace_slow()
                self._check_patience()
                show(self.state())
                self._wake.wait(_TICK)
        finally:
            self._end(helpers)
        show(self.state())

    def state(self) -> State:
        """How far it is."""
        done = sum(target.have.total for target in self._targets)
        current = max(self._active[:], key=lambda piece: piece.target.size, default=None)
        target = current.target if current else None
        if target is None:
            target = next((one for one in self._targets if not one.whole), None)
        now = time.monotonic()
        return State(
            done,
            sum(target.digest.done for target in self._targets),
            target.name if target else "",
            target.have.total if target else 0,
            target.size if target else 0,
            self._pace.speed(self.new_bytes, now),
            len(self._active),
            self.retries,
            self._waiting if now < self._hold_until else "",
        )

    def _helpers(self) -> list[Callable[[], None]]:
        return [self._hash, self._hash, self._sync]

    def _hire(self) -> None:
        """As many connections as make it faster."""
        started = sum(piece.came > 0 for piece in self._active)
        self._pace.look(self.new_bytes, len(self._active), started, time.monotonic())
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        useful = any(target.free.spans for target in self._targets) or self._stealable() is not None
        while useful and self._idle == 0 and len(self._threads) < self._pace.wanted:
            thread = threading.Thread(target=self._guarded, args=(self._work,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wait_for_room(self, check_stopped: Callable[[], None]) -> None:
        trouble = self._full
        if trouble is None:
            return
        self._note(
            _("The disk is full ({reason}). The download waits and goes on by itself once there is room.").format(
                reason=explain(trouble.error).why
            )
        )
        while True:
            end = time.monotonic() + self._limits.room
            while time.monotonic() < end:
                check_stopped()
                time.sleep(min(0.1, self._limits.room))
            try:
                for target in self._targets:
                    target.try_room()
                break
            except DiskTrouble:
                continue
        self._note(_("There is room again; the download goes on."))
        with self._change:
            self._full = None
            self._last_byte = time.monotonic()
            self._change.notify_all()

    def _replace_slow(self) -> None:
        """Give up connections that bring nothing, or next to nothing: their bytes come over others."""
        now, window = time.monotonic(), self._limits.window
        rates: list[tuple[float, Piece]] = []
        for piece in self._active[:]:
            if piece.answer is None:
                continue
            piece.marks.append((now, piece.came))
            while len(piece.marks) > 2 and piece.marks[1][0] <= now - window:
                piece.marks.popleft()
            began, before = piece.marks[0]
            if now - began >= window:
                rates.append(((piece.came - before) / (now - began), piece))
        if not rates:
            return
        usual = sorted(rate for rate, _piece in rates)[len(rates) // 2]
        floor = max(self._limits.trickle, usual / 10 if len(rates) >= 3 else 0)
        if usual < self._limits.trickle:  # the line itself is that slow
            self._pace.ease(now)
        for rate, piece in rates:
            if rate < floor:
                piece.given_up = True
                if piece.answer:
                    piece.answer.interrupt()

    def _check_patience(self) -> None:
        if time.monotonic() - self._last_byte < self._limits.patience or self._all_here():
            return
        raise hubs.HubFailure(
            _("Nothing came from {hub} for {time}.").format(
                hub=hubs.NAMES[self._source.found.hub], time=output.duration(self._limits.patience)
            ),
            self._last_error,
            _("Check the network and start it again: it goes on where it was."),
        )

    def _all_here(self) -> bool:
        return all(target.here for target in self._targets)

    def _end(self, helpers: list[threading.Thread]) -> None:
        with self._change:
            self._closing = True
            for piece in self._active:
                piece.given_up = True
                if piece.answer:
                    piece.answer.interrupt()
            self._change.notify_all()
        end = time.monotonic() + 1.0
        for thread in [*self._threads, *helpers]:
            thread.join(max(0.0, end - time.monotonic()))
        self._source.close()

    # --- the connections -----------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # told by the thread that called
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._change:
            self._failure = self._failure or error
        self._wake.set()

    def _work(self) -> None:
        while (piece := self._take()) is not None:
            error: Exception | None = None
            try:
                self._bring(piece)
            except Exception as caught:
                error = caught
            self._give_back(piece, error)

    def _take(self) -> Piece | None:
        """The next piece; None when this connection is not wanted any more."""
        with self._change:
            while True:
                if self._closing or self._failure or self._all_here() or len(self._active) >= self._pace.wanted:
                    return None
                now = time.monotonic()
                piece = self._next_piece(now) if self._full is None and now >= self._hold_until else None
                if piece:
                    piece.target.active += 1
                    self._active.append(piece)
                    return piece
                self._idle += 1
                self._change.wait(_TICK)
                self._idle -= 1

    def _next_piece(self, now: float) -> Piece | None:
        for target in self._targets:
            if not target.free.spans or now < target.hold_until:
                continue
            if target.active and not (target.ranged and self._source.knows(target.name)):
                continue
            if not target.ranged:
                target.free.spans, target.free.total = [], 0
                return Piece(target, target.digest, 0, target.size)
            start, end = target.free.spans[0]
            length = self._pace.piece
            if end - start > length + self._limits.least // 2:
                end = start + length
            target.free.remove(start, end)
            return Piece(target, target.digest, start, end)
        victim = self._stealable()
        if victim is None:
            return None
        middle = (victim.at + victim.end) // 2
        piece = Piece(victim.target, victim.digest, middle, victim.end)
        victim.end = middle
        return piece

    def _stealable(self) -> Piece | None:
        """The piece that takes longest, when half of it is worth another connection.

        What the network holds for a request that is cut short is lost: so never for a second or less.
        """
        late = [piece for piece in self._active if piece.answer and piece.target.ranged and not piece.given_up]
        victim = max(late, key=Piece.seconds_left, default=None)
        # Far more than one read: the one at work may have some on the way that it has not counted yet.
        if victim is None or victim.end - victim.at < 8 * _BLOCK or victim.seconds_left() < _STEAL_SECONDS:
            return None
        return victim

    def _bring(self, piece: Piece) -> None:
        target = piece.target
        answer = self._source.open(target.file, piece.start, piece.end, target.validator)
        asked_end = piece.end
        if not answer.ranged and (piece.start or piece.end < target.size):
            self._take_all(piece, answer)
        complete = False
        try:
            if not target.see(piece.digest, answer.origin, answer.etag):
                raise Changed(_("{file} was replaced at the hub.").format(file=target.name))
            piece.began, piece.answer = time.monotonic(), answer
            piece.at = piece.start if answer.ranged else 0
            self._read(piece, answer)
            complete = piece.end == asked_end or not answer.ranged
        finally:
            piece.answer = None
            answer.end(complete)

    def _take_all(self, piece: Piece, answer: Answer) -> None:
        """The server ignores ranges: one connection alone brings the whole file from its first byte."""
        with self._change:
            target = piece.target
            if target.active > 1:
                answer.end(False)
                raise Cut(_("The server ignores ranges."))
            target.ranged = False
            target.free.spans, target.free.total = [], 0
            piece.start, piece.end = 0, target.size

    def _read(self, piece: Piece, answer: Answer) -> None:
        target, held, size, since = piece.target, list[bytes](), 0, time.monotonic()
        try:
            while piece.at + size < piece.end:
                asked = time.monotonic()
                block = answer.read(min(_BLOCK, piece.end - piece.at - size))
                if piece.given_up:
                    # After `interrupt`, what is read may be anything: TLS has been cut off.
                    raise Cut(_("The connection was too slow."))
                if not block:
                    raise Cut(_("The connection ended too early."))
                if not answer.ranged and piece.at + size + len(block) == piece.end and answer.read(1):
                    raise Wrong(_("{file} is longer there than listed.").format(file=target.name))
                held.append(block)
                size += len(block)
                piece.came += len(block)
                now = time.monotonic()
                waited = now - asked > _WAITED_SECONDS
                if size >= _ENOUGH or (waited and size >= _LITTLE) or now - since > _OLD_SECONDS:
                    self._write(piece, held, size)
                    held, size, since = [], 0, now
                if waited and len(block) < _ENOUGH:
                    time.sleep(_GATHER_SECONDS)  # the line is slower than this: fewer and larger reads
        finally:
            if held:
                self._write(piece, held, size)
        target.barren = 0

    def _write(self, piece: Piece, held: list[bytes], size: int) -> None:
        target = piece.target
        new = target.write(piece.digest, piece.at, held)
        piece.at += size
        with self._change:
            self.new_bytes += new
        if new:
            self._last_byte = time.monotonic()
            target.barren = target.wrong_answers = 0
            self._source.proved(target.name)

    # --- when something fails ------------------------------------------------------------------------------------

    def _give_back(self, piece: Piece, error: Exception | None) -> None:
        target = piece.target
        with self._change:
            self._active.remove(piece)
            target.active -= 1
            if piece.digest is target.digest:
                if target.ranged:
                    target.free.add(piece.at, piece.end)
                else:
                    # From the start again: what is here already is skipped, since it is not new.
                    target.free = type(target.free)([] if target.here else [(0, target.size)])
            self._change.notify_all()
            if error is not None and not self._closing:
                try:
                    self._judge(piece, error)
                except DiskTrouble as trouble:
                    self._disk(trouble)

    def _judge(self, piece: Piece, error: Exception) -> None:
        """What to do about a failed request. Called with the lock."""
        target = piece.target
        if isinstance(error, DiskTrouble):
            return self._disk(error)
        if isinstance(error, Outdated):
            return None
        if isinstance(error, ApplianceError):
            self._failure = self._failure or error
            return None
        if isinstance(error, Changed) and piece.digest is not target.digest:
            return None
        self.retries += 1
        self._last_error = hubs.scrub(str(error).split("\n")[0][:300]) or type(error).__name__
        if isinstance(error, Changed):
            target.times_changed += 1
            if target.times_changed > _MOST_CHANGES:
                self._failure = self._failure or hubs.damaged(self._source.found.hub, str(error))
            else:
                target.forget()
            return None
        if isinstance(error, Wrong):
            target.wrong_answers += 1
            if target.wrong_answers > _MOST_WRONG:
                self._failure = self._failure or hubs.damaged(self._source.found.hub, str(error))
        elif not isinstance(error, (Busy, Expired, Cut, urllib3.exceptions.HTTPError, OSError, ValueError)):
            self._failure = self._failure or explain(error)
            return None
        if _is_certificate(error):
            self._failure = self._failure or hubs.unreachable(self._source.found.hub, self._last_error)
        now = time.monotonic()
        if isinstance(error, Busy):
            self._pace.ease(now)
            if error.wait is not None:
                self._ask_to_wait(error.wait, now)
        if not piece.came and not isinstance(error, Expired) and now >= target.hold_until:
            target.barren += 1
            pause = min(self._limits.retry_most, self._limits.retry * 2 ** (min(target.barren, 20) - 1))
            target.hold_until = now + pause
        return None

    def _ask_to_wait(self, seconds: float, now: float) -> None:
        hub = hubs.NAMES[self._source.found.hub]
        if now + seconds - self._last_byte > self._limits.patience:
            self._failure = self._failure or hubs.HubFailure(
                _("{hub} asks to wait for {time}.").format(hub=hub, time=output.duration(seconds)),
                self._last_error,
                _("Start it again then: it goes on where it was. A token of yours may be allowed more."),
            )
        self._hold_until = max(self._hold_until, now + seconds)
        self._waiting = _("{hub} asks to wait for {time}.").format(hub=hub, time=output.duration(seconds))

    def _disk(self, trouble: DiskTrouble) -> None:
        if trouble.is_full:
            self._full = trouble
        else:
            self._failure = self._failure or explain(trouble.error)

    # --- beside them ---------------------------------------------------------------------------------------------

    def _hash(self) -> None:
        buffer = bytearray(MIB)
        while not self._closing:
            target = self._to_hash()
            if target is None:
                time.sleep(0.01)
                continue
            try:
                while target.hash_some(8 * MIB, buffer) and not self._closing:
                    pass
                if target.digest.done == target.size and not target.whole:
                    self._finish(target)
            except DiskTrouble as trouble:
                with self._change:
                    self._disk(trouble)
                time.sleep(0.1)
            finally:
                target.hashing = False

    def _to_hash(self) -> Target | None:
        with self._change:
            for target in self._targets:
                ready = target.have.prefix > target.digest.done or target.digest.done == target.size
                if ready and not target.whole and not target.hashing:
                    target.hashing = True
                    return target
        return None

    def _finish(self, target: Target) -> None:
        if target.finish():
            if all(one.whole for one in self._targets):
                self._wake.set()
            return
        if not target.inherited:
            target.times_bad += 1
        if target.times_bad > 1:
            target.forget()
            target.remove()
            why = _("{file} came twice with other bytes than its checksum says.").format(file=target.name)
            self._fail(hubs.damaged(self._source.found.hub, why))
            return
        with self._change:
            self.retries += 1
            target.inherited = False
            target.forget()
            self._change.notify_all()
        self._note(_("{file} does not agree with its checksum; it is brought again.").format(file=target.name))

    def _sync(self) -> None:
        while not self._closing:
            end = time.monotonic() + self._limits.sync
            with self._change:
                while not self._closing and time.monotonic() < end:
                    self._change.wait(end - time.monotonic())
            for target in self._targets:
                if not self._closing and not target.whole:
                    try:
                        target.sync()
                    except DiskTrouble as trouble:
                        with self._change:
                            self._disk(trouble)


def _is_certificate(error: BaseException | None) -> bool:
    import ssl

    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(error, BaseException):
            return False
    return False
