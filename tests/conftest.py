from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from appliance import locale, settings
from appliance.jobs import control
from appliance.jobs.folder import all_jobs

# Two cores are enough for every test here; the workers get it through the child environment.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, and none that fails because the machine is busy.
hypothesis_settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny base models, adapters and what peft merges of them; see tiny.py. Made once, only to be read."""
    if not settings.python_of("train").exists():
        pytest.skip("the training environment is not installed")
    return tiny.make(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty workspace, in English. Jobs that a test leaves running are ended."""
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("APPLIANCE_LANG", raising=False)
    locale.set_language("en")
    yield tmp_path / "home"
    for job in all_jobs():
        if job.written_state().pid is not None:
            control.stop(job, patience=1.0)
    locale.set_language()
