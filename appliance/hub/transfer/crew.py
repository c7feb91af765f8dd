"""The connections of one transfer: who brings which piece, how many at once, and which are replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.errors import explain
from appliance.hub.transfer.keeper import Keeper
from appliance.hub.transfer.limits import Limits
from appliance.hub.transfer.pace import Pace
from appliance.hub.transfer.piece import Cut, Piece
from appliance.hub.transfer.ranges import Ranges
from appliance.hub.transfer.source import Answer, Changed, Source
from appliance.hub.transfer.target import DiskTrouble, Lost, Target
from appliance.hub.transfer.trouble import Trouble
from appliance.locale import _

_STEAL_SECONDS = 1.5
_END_SECONDS = 1.0  # what the threads get to end; the rest ends with the process
_TICK = 0.05
_FIRST_TICK = 0.02  # in the first seconds, where the number of connections is found
_FIRST_TICKS = 100


@dataclass(frozen=True)
class State:
    """What a person is shown. Bytes: `hashed` of `done`; `rate`: bytes a second over the last moments."""

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
        self._pace = Pace(limits)
        self._trouble = Trouble(source.found.hub, limits, self._pace)
        self._keeper = Keeper(targets, limits.sync, self._judged, self._disk)
        self._change = threading.Condition()
        self._wake = threading.Event()  # for the thread that called: something has ended
        self._active: list[Piece] = []
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closing = False
        self.new_bytes = 0

    @property
    def retries(self) -> int:
        """How often something failed and was tried again."""
        return self._trouble.retries

    # --- the thread that called ----------------------------------------------------------------------------------

    def run(self, check_stopped: Callable[[], None], show: Callable[[State], None]) -> None:
        """Raises HubFailure when the hub can't or won't, ApplianceError, and whatever `check_stopped` raises."""
        helpers = self._keeper.threads(self._guarded)
        for helper in helpers:
            helper.start()
        self._trouble.last_byte = time.monotonic()
        ticks = 0
        try:
            while not all(target.whole for target in self._targets):
                check_stopped()
                if self._trouble.failure:
                    raise self._trouble.failure
                self._wait_for_room(check_stopped)
                with self._change:
                    self._hire()
                self._replace_slow()
                if not self._all_here():
                    self._trouble.check_patience()
                show(self.state())
                ticks += 1
                self._wake.wait(_FIRST_TICK if ticks < _FIRST_TICKS else _TICK)
        finally:
            self._end(helpers)
        show(self.state())

    def state(self) -> State:
        """How far it is. The file shown is the largest one under way."""
        current = max(self._active[:], key=lambda piece: piece.target.size, default=None)
        target = current.target if current else next((one for one in self._targets if not one.whole), None)
        return State(
            done=sum(one.have.total for one in self._targets),
            hashed=sum(one.digest.done for one in self._targets),
            file=target.name if target else "",
            file_done=target.have.total if target else 0,
            file_total=target.size if target else 0,
            rate=self._pace.speed(self.new_bytes, time.monotonic()),
            connections=len(self._active),
            retries=self._trouble.retries,
            waiting=self._trouble.waiting(),
        )

    def _hire(self) -> None:
        """As many connections as make it faster."""
        started = sum(piece.came > 0 for piece in self._active)
        self._pace.look(self.new_bytes, len(self._active), started, time.monotonic())
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        useful = any(target.free.spans for target in self._targets) or self._slowest() is not None
        while useful and self._idle == 0 and len(self._threads) < self._pace.wanted:
            thread = threading.Thread(target=self._guarded, args=(self._work,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wait_for_room(self, check_stopped: Callable[[], None]) -> None:
        if self._trouble.full is None:
            return
        self._note(
            _("The disk is full ({reason}). The download waits and goes on by itself once there is room.").format(
                reason=explain(self._trouble.full.error).why
            )
        )
        while self._trouble.full is not None:
            end = time.monotonic() + self._limits.room
            while time.monotonic() < end:
                check_stopped()
                time.sleep(min(0.1, self._limits.room))
            try:
                for target in self._targets:
                    target.try_room()
            except DiskTrouble:
                continue
            self._trouble.full = None
        self._note(_("There is room again; the download goes on."))
        self._trouble.last_byte = time.monotonic()

    def _replace_slow(self) -> None:
        """Give up connections that bring nothing, or next to nothing: their bytes come over others."""
        now = time.monotonic()
        rates: list[tuple[float, Piece]] = []
        for piece in [one for one in self._active[:] if one.answer]:
            rate = piece.rate(now, self._limits.window)
            if rate is not None:
                rates.append((rate, piece))
        if not rates:
            return
        usual = sorted(rate for rate, _piece in rates)[len(rates) // 2]
        floor = max(self._limits.trickle, usual / 10 if len(rates) >= 3 else 0)
        if usual < self._limits.trickle:  # the line itself is that slow
            self._pace.ease(now)
        for rate, piece in rates:
            if rate < floor:
                piece.give_up()

    def _all_here(self) -> bool:
        return all(target.here for target in self._targets)

    def _end(self, helpers: list[threading.Thread]) -> None:
        self._keeper.close()
        with self._change:
            self._closing = True
            for piece in self._active:
                piece.give_up()
            self._change.notify_all()
        end = time.monotonic() + _END_SECONDS
        for thread in [*self._threads, *helpers]:
            thread.join(max(0.0, end - time.monotonic()))
        self._source.close()

    # --- the connections -----------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # told by the thread that called
            self._trouble.fail(error)

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
        trouble = self._trouble
        with self._change:
            while True:
                if self._closing or trouble.failure or self._all_here() or len(self._active) >= self._pace.wanted:
                    return None
                now = time.monotonic()
                piece = self._next_piece(now) if trouble.full is None and now >= trouble.hold_until else None
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
            # One request finds out a file's address, and whether ranges are honoured.
            if target.active and not (target.ranged and self._source.knows(target.name)):
                continue
            if not target.ranged:
                target.free = Ranges()
                return Piece(target, target.digest, 0, target.size)
            start, end = target.free.spans[0]
            length = self._pace.piece(sum(one.free.total for one in self._targets))
            if end - start > length + self._limits.least // 2:
                end = start + length
            target.free.remove(start, end)
            return Piece(target, target.digest, start, end)
        victim = self._slowest()
        if victim is None:
            return None
        middle = (victim.at + victim.end) // 2
        piece = Piece(victim.target, victim.digest, middle, victim.end)
        victim.end = middle
        return piece

    def _slowest(self) -> Piece | None:
        """The piece that takes longest, when half of it is worth another connection.

        What the network holds for a request that is cut short is lost: so never for a second or less.
        """
        late = [piece for piece in self._active if piece.answer and piece.target.ranged and not piece.given_up]
        victim = max(late, key=Piece.seconds_left, default=None)
        # Far more than one read: the one at work may have some on the way that it has not counted yet.
        if victim is None or victim.end - victim.at < 8 * victim.block or victim.seconds_left() < _STEAL_SECONDS:
            return None
        return victim

    def _bring(self, piece: Piece) -> None:
        target = piece.target
        answer = self._source.open(target.file, piece.start, piece.end, target.validator)
        asked_end, complete = piece.end, False
        try:
            if not target.see(piece.digest, answer.origin, answer.etag):
                raise Changed(_("{file} was replaced at the hub.").format(file=target.name))
            if not answer.ranged and (piece.start or piece.end < target.size):
                self._take_all(piece)
            self._begin(piece, answer)
            piece.read(answer, lambda new: self._came(target, new))
            complete = piece.end == asked_end or not answer.ranged
        finally:
            piece.answer = None
            answer.end(complete)

    def _begin(self, piece: Piece, answer: Answer) -> None:
        with self._change:
            piece.at = piece.start if answer.ranged else 0
            piece.began, piece.answer = time.monotonic(), answer
            piece.share(len(self._active))
            if self._closing:
                raise Cut

    def _take_all(self, piece: Piece) -> None:
        """The server ignores ranges: one connection alone brings the whole file from its first byte."""
        with self._change:
            if piece.target.active > 1:
                raise Cut(_("The server ignores ranges."))
            piece.target.ranged = False
            piece.target.free = Ranges()
            piece.start, piece.end = 0, piece.target.size

    def _came(self, target: Target, new: int) -> None:
        if new:
            with self._change:
                self.new_bytes += new
            self._trouble.last_byte = time.monotonic()
            target.barren = target.wrong_answers = 0
            self._source.proved(target.name)

    def _give_back(self, piece: Piece, error: Exception | None) -> None:
        target = piece.target
        with self._change:
            self._active.remove(piece)
            target.active -= 1
            if piece.digest is target.digest:
                if target.ranged:
                    target.free.add(piece.at, piece.end)
                elif not target.here:
                    target.free = Ranges([(0, target.size)])  # from the start again: what is here already is skipped
            if error is not None and not self._closing:
                try:
                    self._trouble.judge(piece, error)
                except DiskTrouble as trouble:
                    self._trouble.disk(trouble)
            self._change.notify_all()
        if self._trouble.failure:
            self._wake.set()

    # --- what the keeper finds -----------------------------------------------------------------------------------

    def _judged(self, target: Target, right: bool) -> None:
        if not right:
            with self._change:
                again = self._trouble.bad(target)
                self._change.notify_all()
            if again:
                text = _("{file} does not agree with its checksum; it is brought again.")
                self._note(text.format(file=target.name))
        if self._trouble.failure or all(one.whole for one in self._targets):
            self._wake.set()

    def _disk(self, trouble: DiskTrouble) -> None:
        with self._change:
            self._trouble.disk(trouble)
            if isinstance(trouble, Lost):
                try:
                    trouble.target.distrust()
                except DiskTrouble as further:
                    self._trouble.disk(further)
