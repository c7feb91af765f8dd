"""The menu as a person has it: a real pty, keys in, a screen of so many columns and lines to read."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pyte

from appliance import settings
from appliance.locale import _

ENTER, CTRL_C, DOWN, UP, TAB, ESCAPE = "\r", "\x03", "\x1b[B", "\x1b[A", "\t", "\x1b"
PATIENCE = 60.0  # seconds; only a machine under heavy load comes near it

# The start of lines that are there to be copied: they run over the edge on purpose, so that they work when pasted.
_TO_COPY = ("appliance ", "curl ")
# Commands, paths and what Python's own JSON reader says.
_NAMES = re.compile(
    r"appliance( (--)?[a-z]+)+|sudo chown -R|--map( \w+=\w+)|--scheme( \w+)?|/[!-~]+|Expecting value"
    r"|[a-z]+ serve BASE"  # a line may end within a command
)
_ENGLISH = re.compile(r"[A-Za-z]+ +[a-z]{2,}")


class _Emulator(pyte.Screen):
    """Answers what a terminal is asked, and keeps the lines that scroll away until they are taken."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], None]) -> None:
        self.gone: list[str] = []
        self._answer = answer
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        self._answer(data)

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.gone.append(self.display[0])
        super().index()


class Screen:
    """`appliance` in a terminal.

    seen   every line that stood on the screen at any time, whole even where it ran over the right edge
    """

    def __init__(
        self,
        home: Path,
        language: str = "en",
        *,
        columns: int = 80,
        lines: int = 24,
        command: list[str] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(home.parent),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "APPLIANCE_HOME": str(home),
            "APPLIANCE_LANG": language,
            "PYTHONPATH": str(settings.CODE_ROOT),
            **{name: value for name, value in os.environ.items() if name == "APPLIANCE_ENVS"},
            **(env or {}),
        }
        self.seen: set[str] = set()
        self._screen = _Emulator(columns, lines, self._answer)
        # The same output on a terminal that is far wider: what stands beyond the edge there does not fit here.
        self._wide = _Emulator(columns * 4, lines, lambda data: None)
        self._streams = [pyte.ByteStream(self._screen), pyte.ByteStream(self._wide)]
        self._columns = columns
        words = command or [sys.executable, "-P", "-m", "appliance"]
        self.child = pexpect.spawn(
            words[0], words[1:], env=variables, cwd=str(settings.CODE_ROOT), dimensions=(lines, columns)
        )
        self.child.delaybeforesend = None

    def _answer(self, data: str) -> None:
        try:
            self.child.send(data)
        except OSError:
            return

    def _read(self, seconds: float) -> bool:
        """Take in what the child writes within this time; False when it has closed the terminal."""
        try:
            data = self.child.read_nonblocking(65536, timeout=seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        for line in data.splitlines(keepends=True):
            for stream in self._streams:
                stream.feed(line)
            self.seen.update(text.rstrip() for text in (*self._wide.display, *self._wide.gone))
            self._wide.gone.clear()
        return True

    @property
    def lines(self) -> list[str]:
        """The screen now. A wide character is followed by nothing: it is one character here."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The screen now, as one text."""
        return "\n".join(self.lines)

    @property
    def flat(self) -> str:
        """The screen now without spaces and line ends, to find sentences that were wrapped."""
        return squeezed(self.text)

    def until(self, reached: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """Read until this holds."""
        end, still = time.monotonic() + timeout, 0
        while not reached():
            assert time.monotonic() < end, f"waited for {what}; the screen is\n{self.text}"
            before = self.flat
            if not self._read(0.2) and not reached():
                raise AssertionError(f"it ended before {what}; the screen is\n{self.text}")
            # Nothing can come any more once a screen is at its end and still for 20 s.
            still = still + 1 if self.flat == before else 0
            if still > 100 and self._at_its_end() and not reached():
                raise AssertionError(f"{what} did not come; the screen is\n{self.text}")

    def wait_for(self, text: str, timeout: float = PATIENCE) -> Screen:
        """Until this stands on the screen (wrapped or not)."""
        wanted = squeezed(text)
        self.until(lambda: wanted in self.flat, repr(text), timeout)
        return self

    def asks(self, question: str, *choices: str, timeout: float = PATIENCE) -> Screen:
        """Until this question is open, with all of these choices on the screen, and the terminal waits for keys."""
        wanted = [squeezed(text) for text in (question, *choices)]

        def open_now() -> bool:
            shown = self._open_question()
            return shown.startswith("?" + wanted[0]) and all(text in shown for text in wanted) and self.is_still

        self.until(open_now, f"the question {question!r} with {choices}", timeout)
        return self

    def waits_for_any_key(self, timeout: float = PATIENCE) -> Screen:
        """Until a screen is at its end and leads back with any key."""
        self.until(lambda: self._at_its_end() and self.is_still, "the end of the screen", timeout)
        return self

    def _at_its_end(self) -> bool:
        return self.flat.endswith(squeezed(_("Any key: back to the menu")))

    def _open_question(self) -> str:
        """The last question on the screen with its choices."""
        lines = self.lines
        start = max((i for i, line in enumerate(lines) if line.startswith("? ")), default=len(lines))
        return squeezed("\n".join(lines[start:]))

    def keys(self, *keys: str) -> Screen:
        """Press these."""
        for key in keys:
            self.child.send(key)
        return self

    def down_to(self, text: str) -> Screen:
        """Move the pointer to this choice of the open question, one key at a time."""
        wanted = squeezed(text)
        for _step in range(40):
            at = self.pointed()
            if wanted in squeezed(at):
                return self
            self.keys(DOWN)
            self.until(lambda at=at: self.is_still and self.pointed() not in ("", at), "the pointer to move")
        raise AssertionError(f"there is no choice {text!r}; the screen is\n{self.text}")

    def pick(self, text: str) -> Screen:
        """Move to this choice and take it."""
        return self.down_to(text).keys(ENTER)

    def pointed(self) -> str:
        """The choice that the pointer stands at."""
        return next((line for line in reversed(self.lines) if line.lstrip().startswith("»")), "")

    @property
    def is_raw(self) -> bool:
        """Whether the terminal gives every key to the program at once."""
        return not termios.tcgetattr(self.child.child_fd)[3] & termios.ICANON

    @property
    def is_still(self) -> bool:
        """Whether a question waits for keys and is drawn to its end: it turns the wrapping off while it draws.

        In the middle of a drawing the pointer is nowhere, or at another choice than it will be.
        """
        return self.is_raw and pyte.modes.DECAWM in self._screen.mode

    @property
    def cursor_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def interrupt(self) -> Screen:
        """Ctrl-C, as the terminal gives it."""
        return self.keys(CTRL_C)

    def resize(self, columns: int, lines: int) -> None:
        """Another size of the window; what stands on the screen is drawn again by whoever is on it."""
        self._screen.resize(lines, columns)
        self._wide.resize(lines, columns * 4)
        self._columns = columns
        self.child.setwinsize(lines, columns)

    def end(self, timeout: float = PATIENCE) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + timeout
        while self._read(0.2):
            assert time.monotonic() < end, f"it did not end; the screen is\n{self.text}"
        self.child.wait()
        return self.child.exitstatus if self.child.exitstatus is not None else 128 + (self.child.signalstatus or 0)

    def close(self) -> None:
        """End it, however it stands."""
        if self.child.isalive():
            self.child.kill(signal.SIGKILL)
        self.child.close(force=True)

    def too_wide(self) -> set[str]:
        """Lines over the edge that are not there to be copied."""
        return {line for line in self.seen if _width(line) > self._columns and not line.strip().startswith(_TO_COPY)}

    def english(self) -> set[str]:
        """Lines with English words in a row that are no command, path or name."""
        lines = {line for line in self.seen if not line.strip().startswith(_TO_COPY)}
        return {line for line in lines if _ENGLISH.search(_NAMES.sub("", line))}


def squeezed(text: str) -> str:
    """Without white space."""
    return "".join(text.split())


def _width(text: str) -> int:
    return sum(pyte.screens.wcwidth(letter) for letter in text.rstrip())
