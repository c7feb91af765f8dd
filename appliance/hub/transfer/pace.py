"""How many connections at once, how much each is asked for, and how fast it goes."""

from __future__ import annotations

from collections import deque

from appliance.hub.transfer.limits import MIB, Limits

_WORTH = 1.15  # more connections are kept when they bring at least so much more
_MEASURE_SECONDS = 0.25
_SETTLE_SECONDS = 2.0  # the longest wait for new connections to bring their first byte
_AGAIN_SECONDS = 20.0  # a line changes: try more connections again after this
_SPEED_SECONDS = 4.0
_PIECE_SECONDS = 1.0


class Pace:
    """`wanted` connections, each asked for `piece` bytes at a time."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self.wanted = limits.first
        self.piece = limits.least
        self._before = 0.0  # the rate with half as many connections
        self._fewer = limits.first
        self._changed = 0.0
        self._window: tuple[float, int] | None = None
        self._rest_until = 0.0
        self._points: deque[tuple[float, int]] = deque()

    def look(self, done: int, active: int, started: int, now: float) -> None:
        """Measure and decide. `active` requests are under way, `started` of them have brought bytes."""
        if now < self._rest_until or not active:
            self._window = None
            return
        if self._changed == 0.0:
            self._changed = now
        if self._window is None:
            if (active >= self.wanted and started == active) or now - self._changed > _SETTLE_SECONDS:
                self._window = (now, done)
            return
        began, before = self._window
        if now - began < _MEASURE_SECONDS:
            return
        self._window = None
        rate = (done - before) / (now - began)
        if rate <= 0:
            return
        each = rate / active * _PIECE_SECONDS
        self.piece = int(min(self._limits.largest, max(self._limits.least, each)) // MIB * MIB or self._limits.least)
        if rate > self._before * _WORTH:
            if self.wanted < self._limits.most:
                self._before, self._fewer = rate, self.wanted
                self.wanted = min(self._limits.most, self.wanted * 2)
                self._changed = now
                return
        else:
            self.wanted = self._fewer
        self._before = 0.0
        self._rest_until = now + _AGAIN_SECONDS

    def ease(self, now: float) -> None:
        """The server has too much to do: half as many connections for a while."""
        self.wanted = self._fewer = max(1, self.wanted // 2)
        self._rest_until = now + _AGAIN_SECONDS

    def speed(self, done: int, now: float) -> float:
        """Bytes a second over the last moments."""
        self._points.append((now, done))
        while len(self._points) > 2 and self._points[1][0] < now - _SPEED_SECONDS:
            self._points.popleft()
        began, before = self._points[0]
        return (done - before) / (now - began) if now > began else 0.0
