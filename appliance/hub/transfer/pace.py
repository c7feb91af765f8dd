"""How many connections at once, how much each is asked for, and how fast it goes."""

from __future__ import annotations

from collections import deque

from appliance.hub.transfer.limits import MIB, Limits

_WORTH = 1.05  # twice the connections are kept when they bring at least so much more
_LOSS = 0.9  # one is enough when it brings at least so much
_FAST = 100 * MIB  # bytes a second over one connection, from where on more of them cost more than they bring
_PLENTY = 400 * MIB  # one that brings so much alone is left alone
_MEASURE_SECONDS = 0.2
_FIRST_SECONDS = 0.1  # the first measure: a few connections that are slow cost time
_SETTLE_SECONDS = 2.0  # the longest wait for new connections to bring their first byte
_AGAIN_SECONDS = 20.0  # a line changes: try again after this
_EASE_SECONDS = 1.0
_SPEED_SECONDS = 4.0
_PIECE_SECONDS = 0.5


class Pace:
    """`wanted` connections, each asked for `piece` bytes at a time."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self.wanted = limits.first
        self.piece = limits.least
        self._tried: tuple[int, float] | None = None  # the connections before the present trial, and their rate
        self._measured = False
        self._changed = 0.0
        self._window: tuple[float, int] | None = None
        self._rest_until = self._eased_until = 0.0
        self._points: deque[tuple[float, int]] = deque()

    def look(self, done: int, active: int, started: int, now: float) -> None:
        """Measure and decide. `active` requests are under way, `started` of them have brought bytes."""
        if now < self._rest_until or not active:
            self._window = None
            return
        if self._changed == 0.0:
            self._changed = now
        if self._window is None:
            if active == started == self.wanted or now - self._changed > _SETTLE_SECONDS:
                self._window = (now, done)
            return
        began, before = self._window
        if now - began < (_MEASURE_SECONDS if self._measured else _FIRST_SECONDS):
            return
        self._window = None
        rate = (done - before) / (now - began)
        if rate <= 0:
            return
        self._measured = True
        each = int(rate / active * _PIECE_SECONDS) // MIB * MIB
        self.piece = min(self._limits.largest, max(self._limits.least, each))
        self._decide(rate, rate / active, now)

    def _decide(self, rate: float, each: float, now: float) -> None:
        if self._tried is not None:
            fewer_now = self.wanted < self._tried[0]
            plenty = fewer_now and each > _PLENTY
            if not plenty and rate < self._tried[1] * (_LOSS if fewer_now else _WORTH):
                self.wanted = self._tried[0]
                return self._rest(now)
        more = min(self._limits.most, max(self._limits.usual, self.wanted * 2))
        next_one = 1 if each > _FAST else more
        if (each > _FAST) == (next_one >= self.wanted):
            return self._rest(now)
        self._tried, self.wanted, self._changed = (self.wanted, rate), next_one, now
        return None

    def _rest(self, now: float) -> None:
        self._tried, self._rest_until, self._changed = None, now + _AGAIN_SECONDS, 0.0

    def ease(self, now: float) -> None:
        """The server has too much to do: half as many connections for a while. Once for what comes all at once."""
        if now < self._eased_until:
            return
        self._eased_until = now + _EASE_SECONDS
        self.wanted = max(1, self.wanted // 2)
        self._rest(now)

    def speed(self, done: int, now: float) -> float:
        """Bytes a second over the last moments."""
        self._points.append((now, done))
        while len(self._points) > 2 and self._points[1][0] < now - _SPEED_SECONDS:
            self._points.popleft()
        began, before = self._points[0]
        return (done - before) / (now - began) if now > began else 0.0
