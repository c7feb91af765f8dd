"""What went wrong in a transfer so far, and what follows from it: again, wait, or give up with a sentence."""

from __future__ import annotations

import ssl
import time

import urllib3

from appliance import output
from appliance.errors import ApplianceError, explain
from appliance.hub import hubs
from appliance.hub.transfer.limits import Limits
from appliance.hub.transfer.pace import Pace
from appliance.hub.transfer.piece import Cut, Piece
from appliance.hub.transfer.source import Busy, Changed, Expired, Wrong
from appliance.hub.transfer.target import DiskTrouble, Outdated, Target
from appliance.locale import _

_MOST_CHANGES = 3
_MOST_WRONG = 3


class Trouble:
    """failure: what ends the transfer; full: the disk's word while it has no room; hold_until: before then nobody asks
    the hub; retries: how often something failed and was tried again."""

    def __init__(self, hub: str, limits: Limits, pace: Pace):
        self._hub, self._limits, self._pace = hub, limits, pace
        self.failure: BaseException | None = None
        self.full: DiskTrouble | None = None
        self.hold_until = 0.0
        self.retries = 0
        self.last_byte = time.monotonic()
        self._waiting = ""
        self._last_error = ""

    def fail(self, error: BaseException) -> None:
        """The first failure is the one that is told."""
        self.failure = self.failure or error

    def waiting(self) -> str:
        """The sentence about what is waited for, "" for nothing."""
        return self._waiting if time.monotonic() < self.hold_until else ""

    def disk(self, trouble: DiskTrouble) -> None:
        """The disk refused: a matter of room is waited for, all else ends it."""
        if trouble.is_full:
            self.full = trouble
        else:
            self.fail(explain(trouble.error))

    def judge(self, piece: Piece, error: Exception) -> None:
        """What to do about a failed request. Raises DiskTrouble."""
        target = piece.target
        if isinstance(error, DiskTrouble):
            return self.disk(error)
        if isinstance(error, ApplianceError):
            return self.fail(error)
        if isinstance(error, Outdated) or (isinstance(error, Changed) and piece.digest is not target.digest):
            return None
        if not isinstance(
            error, (Busy, Expired, Cut, Changed, Wrong, urllib3.exceptions.HTTPError, OSError, ValueError)
        ):
            return self.fail(explain(error))
        self.retries += 1
        self._last_error = hubs.scrub(str(error).split("\n")[0][:300]) or type(error).__name__
        if isinstance(error, Changed):
            return self._changed(target, error)
        if isinstance(error, Wrong):
            target.wrong_answers += 1
            if target.wrong_answers > _MOST_WRONG:
                return self.fail(hubs.damaged(self._hub, str(error)))
        if _is_certificate(error):
            return self.fail(hubs.unreachable(self._hub, self._last_error))
        now = time.monotonic()
        if isinstance(error, Busy):
            self._pace.ease(now)
            if error.wait is not None:
                self._ask_to_wait(error.wait, now)
        if not piece.came and not isinstance(error, Expired) and now >= target.hold_until:
            target.barren += 1
            pause = self._limits.retry * 2 ** (min(target.barren, 20) - 1)
            target.hold_until = now + min(self._limits.retry_most, pause)
        return None

    def bad(self, target: Target) -> bool:
        """All bytes of a file are here and wrong. Returns whether they are brought again. Raises DiskTrouble."""
        if not target.inherited:
            target.times_bad += 1
        target.forget()
        if target.times_bad > 1:
            target.remove()
            why = _("{file} came twice with other bytes than its checksum says.").format(file=target.name)
            self.fail(hubs.damaged(self._hub, why))
            return False
        self.retries += 1
        target.inherited = False
        return True

    def check_patience(self) -> None:
        """Raises Silence when no new byte has come for too long."""
        if time.monotonic() - self.last_byte >= self._limits.patience:
            raise hubs.Silence(
                _("Nothing came from {hub} for {time}.").format(
                    hub=hubs.NAMES[self._hub], time=output.duration(self._limits.patience)
                ),
                self._last_error,
                _("Check the network and start it again: it goes on where it was."),
            )

    def _changed(self, target: Target, error: Changed) -> None:
        target.times_changed += 1
        if target.times_changed > _MOST_CHANGES:
            self.fail(hubs.damaged(self._hub, str(error)))
        else:
            target.forget()

    def _ask_to_wait(self, seconds: float, now: float) -> None:
        self._waiting = _("{hub} asks to wait for {time}.").format(
            hub=hubs.NAMES[self._hub], time=output.duration(seconds)
        )
        self.hold_until = max(self.hold_until, now + seconds)
        if now + seconds - self.last_byte > self._limits.patience:
            self.fail(
                hubs.HubFailure(
                    self._waiting,
                    self._last_error,
                    _("Start it again then: it goes on where it was. A token of yours may be allowed more."),
                )
            )


def _is_certificate(error: BaseException | None) -> bool:
    while isinstance(error, BaseException):
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = getattr(error, "reason", None) or error.__cause__ or error.__context__
    return False
