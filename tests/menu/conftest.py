from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from screen import Screen

from appliance import locale
from appliance.hub import manifest
from appliance.menu.main import entries

Menu = Callable[..., Screen]


@pytest.fixture
def workspace(home: Path, shelf: Path) -> Path:
    """A workspace with one model in it: tiny-base."""
    folder = home / "models" / "tiny-base"
    shutil.copytree(shelf / "base-float32", folder)
    manifest.write(folder, source="folder", reference=str(shelf / "base-float32"), revision=None)
    return home


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tiny.write_rows(tmp_path / "rows.jsonl")


@pytest.fixture
def menu(home: Path) -> Iterator[Menu]:
    """Open the menu and wait for its first screen. What the test expects is said in the same language."""
    opened: list[Screen] = []

    def start(language: str = "en", **how: Any) -> Screen:
        locale.set_language(language)
        screen = Screen(home, language, **how)
        opened.append(screen)
        return at_first_screen(screen)

    yield start
    for screen in opened:
        screen.close()


@pytest.fixture
def unprivileged() -> list[str]:
    """Words before a command that make permissions count, for root as well."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def at_first_screen(screen: Screen) -> Screen:
    return screen.asks(locale._("What do you want to do?"), *(text for text, _key in entries()))
