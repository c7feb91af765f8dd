"""`appliance`: without words the menu, with words a command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run, and end with the exit code: 0 done, 1 failed, 2 wrong words, 130 stopped."""
    _streams()
    words = sys.argv[1:]
    # The language decides how help and errors read, so it is looked for before anything else.
    for index, word in enumerate(words):
        name, _equals, value = word.partition("=")
        if name == "--lang" and (value or index + 1 < len(words)):
            from appliance.locale import LANGUAGES, set_language

            chosen = value or words[index + 1]
            if chosen in LANGUAGES:
                set_language(chosen)
                if len(words) == (1 if value else 2):  # nothing but the language: the menu
                    words = []
            break
    if words:
        from appliance.cli import run

        sys.exit(run())
    from appliance.menu import open_menu

    sys.exit(open_menu())


def _streams() -> None:
    """Whoever started this may have closed a stream, or let it take only some letters: neither is the work's end."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and "utf" not in (getattr(sys, name).encoding or "").lower():
            getattr(sys, name).reconfigure(errors="replace")


if __name__ == "__main__":
    main()
