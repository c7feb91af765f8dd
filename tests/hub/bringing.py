"""fetch() as a worker calls it, with what it told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fake_hub import MODEL

from appliance import settings
from appliance.hub.fetch import fetch
from appliance.hub.transfer.limits import Limits

# Small figures, so that what is slow is seen soon; patient, so that a busy machine fails no test.
QUICK = Limits(
    first=4,
    most=8,
    least=128 * 1024,
    largest=1024 * 1024,
    connect=10.0,
    stall=1.0,
    window=0.5,
    trickle=5_000,
    patience=60.0,
    retry=0.02,
    retry_most=0.2,
    sync=0.1,
    room=0.1,
)
# For what never ends well.
HASTY = replace(QUICK, stall=0.6, patience=1.2)


@dataclass
class Bring:
    """Into the workspace, by `name`."""

    notes: list[str] = field(default_factory=list)
    steps: list[tuple[str, int, int, str]] = field(default_factory=list)
    more: list[dict[str, Any]] = field(default_factory=list)
    check_stopped: Callable[[], None] = lambda: None
    watched: Callable[[int], None] = lambda done: None

    def __call__(self, reference: str | Path = MODEL, name: str = "owner--tiny", **options: Any) -> Path:
        return fetch(
            str(reference),
            to=settings.models_folder() / name,
            progress=self._step,
            check_stopped=lambda: self.check_stopped(),
            note=self.notes.append,
            **{"limits": QUICK, **options},
        )

    def _step(self, phase: str, done: int, total: int, file: str, **more: Any) -> None:
        self.steps.append((phase, done, total, file))
        self.more.append(more)
        self.watched(done)

    @property
    def said(self) -> str:
        return "\n".join(self.notes)
