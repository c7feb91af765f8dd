"""Every screen, a file each. Answers in, the same calls as the commands; no logic of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Small enough for a split terminal, large enough for the first screen.
MIN_COLUMNS, MIN_LINES = 60, 20


def open_menu() -> int:
    """The menu; returns the exit code. Without a terminal: how to run a job, exit 2."""
    from appliance import output, settings
    from appliance.errors import ApplianceError, explain
    from appliance.locale import _

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        output.error(
            ApplianceError(
                _("The menu needs a terminal."),
                _("The input or the output is not one."),
                _("In Docker, add -it. Without a terminal: appliance run RECIPE.yaml, or appliance --help"),
            )
        )
        return 2
    columns, lines = os.get_terminal_size()
    if columns < MIN_COLUMNS or lines < MIN_LINES:
        output.error(
            ApplianceError(
                _("This terminal is too small for the menu."),
                _("It has {columns}×{lines} characters; the menu needs {min_columns}×{min_lines}.").format(
                    columns=columns, lines=lines, min_columns=MIN_COLUMNS, min_lines=MIN_LINES
                ),
                _("Make the window larger, or use the commands: appliance --help"),
            )
        )
        return 1
    try:
        from appliance.menu.main import loop

        with _silent_keys():
            return loop()
    except KeyboardInterrupt:  # between two questions: a screen was being drawn, the machine looked at
        _end_jobs()
        return 130
    except Exception as error:
        _end_jobs()
        if settings.debug():
            raise
        output.error(explain(error))
        return 1


def _end_jobs() -> None:
    """Inside the image this process's end is the container's: its jobs are saved first."""
    from appliance import settings

    if settings.in_container():
        from appliance.jobs.control import stop_all

        stop_all()


@contextmanager
def _silent_keys() -> Iterator[None]:
    """No echo outside the questions, which do their own: a key pressed meanwhile would break what is drawn."""
    import termios

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
