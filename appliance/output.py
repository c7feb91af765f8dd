"""The one way to show things: rich where there is a terminal, plain text in a pipe, one JSON object with --json.

With --json the answer is alone on stdout; progress, notes and questions go to stderr.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from appliance.errors import ApplianceError
from appliance.locale import _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

_json = False
_console: Console | None = None


def use_json(yes: bool = True) -> None:
    """Answer with one JSON object on stdout from here on."""
    global _json, _console
    _json, _console = yes, None


def is_json() -> bool:
    """Whether --json was asked for."""
    return _json


def console() -> Console:
    """Where a person reads: stdout, or stderr when stdout belongs to the JSON answer."""
    global _console
    if _console is None:
        from rich.console import Console

        _console = Console(stderr=_json, highlight=False, soft_wrap=False)
    return _console


def answer(value: dict[str, Any], show: Callable[[], None] | None = None) -> None:
    """A command's answer: the JSON object, or what `show` prints for a person."""
    if _json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    elif show is not None:
        show()


def say(text: RenderableType = "", style: str = "") -> None:
    """One line or one renderable for a person. Text is printed as it is: markup in data stays harmless."""
    console().print(text, style=style or None, markup=False)


def paste(text: str) -> None:
    """A line to copy: never wrapped, never styled, so that it works when pasted."""
    print(text, file=console().file)


def note(text: str) -> None:
    """Something worth knowing."""
    say(f"· {text}", "dim")


def warn(text: str) -> None:
    """Something that may need action."""
    say(f"! {text}", "yellow")


def good(text: str) -> None:
    """Something that is done."""
    say(f"✓ {text}", "green")


def error_lines(error: ApplianceError) -> list[tuple[str, str]]:
    """An error as (label, sentence) pairs in the order in which a person wants them."""
    rows = [(_("what"), error.what)]
    rows += [(_("why"), error.why)] if error.why else []
    rows += [("·", problem) for problem in error.problems]
    rows += [(_("next"), error.next_step)] if error.next_step else []
    return rows


def error(failure: ApplianceError) -> None:
    """What, why, next step. With --json the same as {"error": {...}} on stdout."""
    if _json:
        answer({"error": failure.as_dict()})
        return
    from rich.table import Table

    target = console() if console().is_terminal else _stderr()
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold red", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, sentence in error_lines(failure):
        grid.add_row(label, _plain(sentence))
    target.print(grid)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _plain(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text)


def pairs(rows: Iterable[tuple[str, str]], title: str = "") -> None:
    """A two-column list: names and what they are."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(_plain(name), _plain(value))
    if title:
        say(title, "bold")
    console().print(grid)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """A table that folds long cells instead of cutting them."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left", show_edge=False)
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(_plain(cell) for cell in row))
    console().print(shown)


class _Moving(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def moving(picture: _Moving) -> Iterator[None]:
    """Something of rich's that moves (a Live, a Status), until the end of the block.

    Ctrl-C waits while it starts and stops: broken off in the middle of that it would go on moving over what follows.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        picture.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            picture.stop()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A moving sign while something takes a moment (in a pipe: one line on stderr)."""
    if console().is_terminal:
        with moving(console().status(_plain(text))):
            yield
    else:
        _stderr().print(_plain(text + " …"))
        yield


def gib(value: float) -> str:
    """A memory size in GiB for a person."""
    return f"{value:.1f} GiB" if value < 100 else f"{value:.0f} GiB"


def size(value: float) -> str:
    """Bytes for a person, in powers of 1000 as disks and networks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """A time span for a person: `42 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return _("{n} s").format(n=max(0, round(seconds)))
    minutes = round(seconds / 60)
    if minutes < 90:
        return _("{n} min").format(n=minutes)
    return _("{h} h {m:02d} min").format(h=minutes // 60, m=minutes % 60)
