"""What moves on the screen has ended when a Ctrl-C comes, at whichever moment."""

from __future__ import annotations

import signal

import pytest

from appliance import output


class Picture:
    """Interrupted while it starts, or while it stops."""

    def __init__(self, moment: str):
        self.moment = moment
        self.done: list[str] = []

    def start(self) -> None:
        self._do("start")

    def stop(self) -> None:
        self._do("stop")

    def _do(self, what: str) -> None:
        if what == self.moment:
            signal.raise_signal(signal.SIGINT)
        self.done.append(what)


@pytest.mark.parametrize("moment", ["start", "stop"])
def test_ctrl_c_waits_until_it_has_started_or_stopped(moment: str) -> None:
    picture = Picture(moment)
    with pytest.raises(KeyboardInterrupt), output.moving(picture):
        pass
    assert picture.done == ["start", "stop"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
