"""The one way to ask a person. Ctrl-C and Esc raise KeyboardInterrupt; whoever asked decides what that means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from appliance.locale import _


def _style() -> Any:
    from questionary import Style

    return Style([("qmark", "fg:ansicyan bold"), ("question", "bold"), ("pointer", "fg:ansicyan bold"),
                  ("highlighted", "fg:ansicyan bold"), ("selected", ""), ("answer", "fg:ansicyan"),
                  ("instruction", "fg:ansibrightblack")])  # fmt: skip


def _asked(kind: Callable[..., Any], *words: Any, escape: bool = True, **options: Any) -> Any:
    """The answer. Ctrl-D, which closes the input, means the same as Ctrl-C; so does Esc, unless it is to do nothing."""
    question = kind(*words, **options)
    # A terminal that is slow to say where its cursor is, as over a slow line, is no reason to say so in English.
    question.application.renderer.cpr_not_supported_callback = None
    if escape:
        _escape_goes_back(question.application)
    try:
        return question.unsafe_ask()
    except EOFError:
        raise KeyboardInterrupt from None


def _escape_goes_back(application: Any) -> None:
    from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings

    keys = KeyBindings()

    @keys.add("escape")
    def _back(event: Any) -> None:
        event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    application.key_bindings = merge_key_bindings([application.key_bindings, keys])
    application.timeoutlen = 0.2  # seconds in which a second key would make it Alt and that key


def _validator(check: Callable[[str], str | None] | None, clean: Callable[[str], str]) -> Callable[[str], bool | str]:
    """For questionary: True, or what is wrong. A name that no system can look up is wrong, not an accident."""

    def valid(value: str) -> bool | str:
        try:
            return (check(clean(value)) if check else None) or True
        except (OSError, RuntimeError, ValueError) as error:
            return str(error) or _("This can't be looked up.")

    return valid


def choose(question: str, choices: Sequence[tuple[str, Any]], default: Any = None, keys: str = "") -> Any:
    """One of (text, value) pairs, with the arrow keys and Enter. `keys`: a key for each that jumps to it."""
    import questionary

    # By number: questionary takes the text for a value that is None.
    items = [
        questionary.Choice(title=text, value=number, shortcut_key=key)
        for number, ((text, _value), key) in enumerate(zip(choices, keys or [None] * len(choices), strict=True))
    ]
    values = [value for _text, value in choices]
    first = items[values.index(default)] if default is not None and default in values else None
    chosen = _asked(
        questionary.select,
        question,
        choices=items,
        default=first,
        qmark="?",
        instruction=_("(key or ↑↓, then Enter)") if keys else _("(↑↓, Enter; Esc: back)"),
        style=_style(),
        use_shortcuts=bool(keys),
        escape=not keys,  # the first screen: there is nothing to go back to
    )
    return choices[chosen][1]


def several(question: str, choices: Sequence[tuple[str, Any]], chosen: Sequence[Any]) -> list[Any]:
    """Any number of (text, value) pairs, with the space bar and Enter; `chosen` are so from the start."""
    import questionary

    items = [questionary.Choice(title=text, value=value, checked=value in chosen) for text, value in choices]
    hint = _("(space to switch, Enter; Esc: back)")
    return list(_asked(questionary.checkbox, question, choices=items, qmark="?", instruction=hint, style=_style()))


def yes(question: str, default: bool = True) -> bool:
    """A yes or no."""
    return bool(choose(question, [(_("yes"), True), (_("no"), False)], default=default))


def text(question: str, default: str = "", check: Callable[[str], str | None] | None = None, hint: str = "") -> str:
    """A line of text. `check` returns what is wrong with it, or None."""
    import questionary

    answer = _asked(
        questionary.text,
        question,
        default=default,
        validate=_validator(check, str.strip),
        validate_while_typing=False,
        qmark="?",
        instruction=hint or None,
        style=_style(),
    )
    return str(answer).strip()


def secret(question: str, check: Callable[[str], str | None] | None = None) -> str:
    """A line that nobody sees while it is typed or pasted."""
    import questionary

    answer = _asked(
        questionary.password,
        question,
        validate=_validator(check, str.strip),
        validate_while_typing=False,
        qmark="?",
        style=_style(),
    )
    return str(answer).strip()


def path(
    question: str, default: str = "", check: Callable[[str], str | None] | None = None, only_folders: bool = False
) -> str:
    """A file or folder; Tab completes. Quotes around it (dragged into the terminal) are taken off."""
    import questionary
    from questionary.prompts.path import GreatUXPathCompleter

    def clean(value: str) -> str:
        value = value.strip()
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value

    # Not questionary.path: there Enter only closes the list of names, so that it seems to do nothing.
    answer = _asked(
        questionary.text,
        question,
        default=default,
        validate=_validator(check, clean),
        validate_while_typing=False,
        qmark="?",
        instruction=_("(Tab completes; Esc: back) "),
        style=_style(),
        completer=GreatUXPathCompleter(only_directories=only_folders, expanduser=True),
        complete_while_typing=False,
    )
    return clean(str(answer))


def fillings(names: Sequence[str]) -> dict[str, str]:
    """Values for placeholders, by asking for each; one that is left empty stays as it is."""
    asked = {
        name: text(_("What should stand for {name}?").format(name="{{" + name + "}}"), hint=_("(empty: leave it)"))
        for name in names
    }
    return {name: value for name, value in asked.items() if value}


def wait_for_enter(sentence: str) -> None:
    """Until Enter is pressed."""
    import questionary

    _asked(questionary.press_any_key_to_continue, sentence)


def forget_keys() -> None:
    """Drop what was pressed before the next question stood there: an impatient Enter is no answer to it."""
    import termios

    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
