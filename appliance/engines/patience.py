"""uvicorn waits for ever for the end of a request's head; ours don't. uvicorn is imported when it is needed."""

from __future__ import annotations

from typing import Any

# Seconds in which a request's head must be whole.
_HEAD_SECONDS = 30.0


def patient() -> Any:
    """uvicorn's protocol, but not for ever: a client that never ends its request's head is let go."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):  # type: ignore[misc]
        _deadline: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._deadline = self.loop.call_later(_HEAD_SECONDS, self._give_up)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            waits = self.cycle is None or self.cycle.response_complete
            if not waits and self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            elif waits and self._deadline is None:
                self._deadline = self.loop.call_later(_HEAD_SECONDS, self._give_up)

        def connection_lost(self, error: Exception | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(error)

        def _give_up(self) -> None:
            self._deadline = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Patient
