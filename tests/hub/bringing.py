"""fetch() as a worker calls it, with what it told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_hub import MODEL

from appliance import settings
from appliance.hub.fetch import fetch


@dataclass
class Bring:
    """Into the workspace, by `name`."""

    notes: list[str] = field(default_factory=list)
    steps: list[tuple[str, int, int, str]] = field(default_factory=list)
    check_stopped: Callable[[], None] = lambda: None
    watched: Callable[[int], None] = lambda done: None

    def __call__(self, reference: str | Path = MODEL, name: str = "owner--tiny", **options: Any) -> Path:
        return fetch(
            str(reference),
            to=settings.models_folder() / name,
            progress=self._step,
            check_stopped=lambda: self.check_stopped(),
            note=self.notes.append,
            **options,
        )

    def _step(self, *step: Any) -> None:
        self.steps.append(step)
        self.watched(step[1])
