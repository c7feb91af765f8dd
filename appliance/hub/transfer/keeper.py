"""Beside the connections: what is written is hashed in order, made durable, and judged once it is all here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from appliance.hub.transfer.limits import MIB
from appliance.hub.transfer.target import DiskTrouble, Outdated, Target

_HASHERS = 2
_LOOK_SECONDS = 0.005
_STEP = 8 * MIB


class Keeper:
    """Two threads that hash and one that syncs.

    judged    called with a target and whether its bytes are the right ones, when all are here
    trouble   called with what the disk refused
    """

    def __init__(
        self,
        targets: Sequence[Target],
        sync_seconds: float,
        judged: Callable[[Target, bool], None],
        trouble: Callable[[DiskTrouble], None],
    ):
        self._targets, self._sync_seconds, self._judged, self._trouble = targets, sync_seconds, judged, trouble
        self._closing = threading.Event()
        self._claims = threading.Lock()

    def threads(self, guarded: Callable[[Callable[[], None]], None]) -> list[threading.Thread]:
        """Not started yet. `guarded` runs each one's work."""
        works = [self._hash] * _HASHERS + [self._sync]
        return [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]

    def close(self) -> None:
        """Let the threads end."""
        self._closing.set()

    def _hash(self) -> None:
        before: Target | None = None
        while not self._closing.is_set():
            target = self._claim()
            if target is None:
                time.sleep(_LOOK_SECONDS)
                continue
            if before is not None and before is not target:
                before.follow(False)
            before = target
            target.follow(True)
            try:
                while target.hash_some(_STEP) and not self._closing.is_set():
                    pass
                if target.digest.done == target.size and not self._closing.is_set():
                    self._judged(target, target.finish())
            except Outdated:  # given up by a connection at the last moment: it is brought again
                continue
            except DiskTrouble as trouble:
                self._trouble(trouble)
                self._closing.wait(0.1)
            finally:
                target.hashing = False
            if not target.here:  # several blocks at once: after each one, the connection that writes them would wait
                time.sleep(_LOOK_SECONDS)

    def _claim(self) -> Target | None:
        with self._claims:
            for target in self._targets:
                ready = target.have.prefix > target.digest.done or target.digest.done == target.size
                if ready and not target.whole and not target.hashing:
                    target.hashing = True
                    return target
        return None

    def _sync(self) -> None:
        while not self._closing.wait(self._sync_seconds):
            for target in self._targets:
                if not self._closing.is_set() and not target.whole:
                    try:
                        target.sync()
                    except DiskTrouble as trouble:
                        self._trouble(trouble)
