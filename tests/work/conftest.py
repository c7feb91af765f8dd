from __future__ import annotations

from pathlib import Path

import merge_shelf
import pytest

from appliance import settings


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of merge_shelf's ordinary cases; only to be read."""
    if not settings.python_of("train").exists():
        pytest.skip("the training environment is not installed")
    return merge_shelf.make(tmp_path_factory.mktemp("cases"), merge_shelf.STREAMED + merge_shelf.BY_PEFT)
