"""How many connections at once, how much each is asked for, and how fast it goes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from appliance.hub.transfer.limits import MIB, Limits

_WORTH = 1.05  # more connections are kept when they bring at least so much more
_LOSS = 0.9  # one is enough when it brings at least so much
_SURE = 3  # measures in a row that must say so before a trial is called off: one alone is mostly noise
_FAST = 100 * MIB  # bytes a second over one connection, from where on more of them cost more than they bring
_PLENTY = 400 * MIB  # one that brings so much alone is left alone
_MEASURE_SECONDS = 0.2
_FIRST_SECONDS = 0.1  # the first measure: a few connections that are slow cost time
_STARTED = 0.75  # of the connections bring bytes: enough to measure, for some always ask for their next piece
_SETTLE_SECONDS = 2.0  # the longest wait for that
_AGAIN_SECONDS = 5.0  # a line changes: try again after this, and after twice as long each time
_AGAIN_MOST = 40.0
_EASE_SECONDS = 1.0
_EASED_SECONDS = 20.0  # nothing is tried for so long after a server had too much to do
_SPEED_SECONDS = 4.0
_PIECE_SECONDS = 2.0


@dataclass
class _Trial:
    """What was before: so many connections and their rate. `low`: measures in a row that say that it was better."""

    before: int
    rate: float
    low: int = 0


class Pace:
    """`wanted` connections.

    Where each connection is held back, twice as many bring twice as much: so the number is doubled as long as they
    bring more in all. Where one alone is fast, the processor is the limit, and one is best.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self.wanted = limits.first
        self._each = 0.0  # bytes a second over one connection
        self._trial: _Trial | None = None
        self._changed = 0.0
        self._window: tuple[float, int] | None = None
        self._rest_until = self._eased_until = 0.0
        self._again = _AGAIN_SECONDS
        self._eased = False
        self._points: deque[tuple[float, int]] = deque()

    def piece(self, left: int) -> int:
        """Bytes to ask for at a time while `left` have not been asked for: large ones, but no connection may be
        without one towards the end."""
        share = min(self._each * _PIECE_SECONDS, left / (4 * self.wanted))
        return min(self._limits.largest, max(self._limits.least, int(share) // MIB * MIB))

    def look(self, done: int, active: int, started: int, now: float) -> None:
        """Measure and decide. `active` requests are under way, `started` of them have brought bytes."""
        if now < self._rest_until or not active:
            self._window = None
            return
        if self._changed == 0.0:
            self._changed = now
        if self._window is None:
            full = active >= _STARTED * self.wanted and started >= _STARTED * active
            if full or now - self._changed > _SETTLE_SECONDS:
                self._window = (now, done)
            return
        began, before = self._window
        if now - began < (_MEASURE_SECONDS if self._each else _FIRST_SECONDS):
            return
        self._window = (now, done)
        rate = (done - before) / (now - began)
        if rate > 0:
            self._each = rate / active
            self._decide(rate, now)

    def _decide(self, rate: float, now: float) -> None:
        trial = self._trial
        if trial:
            fewer = self.wanted < trial.before
            plenty = fewer and self._each > _PLENTY
            if not plenty and rate < trial.rate * (_LOSS if fewer else _WORTH):
                trial.low += 1
                if trial.low >= _SURE:
                    self.wanted = trial.before
                    self._rest(now)
                return None
            if fewer:
                return self._rest(now)
        if self._each > _FAST:
            next_one = 1
        else:
            twice = self.wanted * 2
            next_one = min(self._limits.most, twice if self._eased else max(self._limits.usual, twice))
        if next_one == self.wanted:
            return self._rest(now)
        self._trial, self.wanted, self._changed, self._window = _Trial(self.wanted, rate), next_one, now, None
        return None

    def _rest(self, now: float, seconds: float | None = None) -> None:
        self._trial, self._changed = None, 0.0
        self._rest_until = now + (seconds or self._again)
        self._again = min(_AGAIN_MOST, 2 * self._again)

    def ease(self, now: float) -> None:
        """The server has too much to do: half as many connections for a while. Once for what comes all at once."""
        if now < self._eased_until:
            return
        self._eased, self._eased_until = True, now + _EASE_SECONDS
        self.wanted = max(1, self.wanted // 2)
        self._rest(now, _EASED_SECONDS)

    def speed(self, done: int, now: float) -> float:
        """Bytes a second over the last moments."""
        self._points.append((now, done))
        while len(self._points) > 2 and self._points[1][0] < now - _SPEED_SECONDS:
            self._points.popleft()
        began, before = self._points[0]
        return (done - before) / (now - began) if now > began else 0.0
