"""Tests of the built image. `make test-image` names it; without an image there is nothing to collect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from boxes import IMAGE, RUN, Box, engine, well

collect_ignore_glob = [] if IMAGE else ["test_*.py"]


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes containers; none is left afterwards."""
    made: list[Box] = []

    def make(volume: str | None = None, *flags: str) -> Box:
        made.append(Box(volume, flags))
        return made[-1]

    yield make
    for one in made:
        engine("kill", one.name)  # first, because `rm -f` alone is patient
        engine("rm", "-f", one.name)


@pytest.fixture(scope="session")
def volume() -> Iterator[str]:
    """A fresh volume."""
    well(engine("volume", "create", RUN))
    yield RUN
    engine("volume", "rm", "-f", RUN)


@pytest.fixture(scope="session")
def demo(volume: str) -> dict[str, Any]:
    """What the demo answered inside a hardened container; its workspace is in `volume` afterwards."""
    one = Box(volume)
    try:
        return dict(json.loads(well(one.run("demo", "--json", timeout=400))))
    finally:
        engine("rm", "-f", one.name)
