from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import merge_shelf
import pytest
from forked import Forked

from appliance import settings
from appliance.jobs import control


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of merge_shelf's ordinary cases; only to be read."""
    if not settings.python_of("train").exists():
        pytest.skip("the training environment is not installed")
    return merge_shelf.make(tmp_path_factory.mktemp("cases"), merge_shelf.STREAMED + merge_shelf.BY_PEFT)


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with Forked() as made:
        yield made


@pytest.fixture
def spawn(forked: Forked, monkeypatch: pytest.MonkeyPatch) -> Forked:
    """Each job by a worker that has imported everything already."""
    monkeypatch.setattr(control, "_spawn", forked)
    return forked
