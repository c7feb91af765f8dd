"""The first screen: what this machine is, what that means, and what can be done."""

from __future__ import annotations

import importlib
from typing import Any

from appliance import output, questions, settings
from appliance.errors import explain
from appliance.locale import _

# The first four keep the numbers of the 一锤定音 script. Each screen is imported when it is opened.
_SCREENS = {
    "g": "guided", "1": "download", "2": "serve", "3": "finetune", "4": "merge", "5": "jobs", "6": "settings",
    "7": "data", "8": "quantize",
}  # fmt: skip


def entries() -> list[tuple[str, str]]:
    """(text, key) of every entry."""
    return [
        (_("My data → my model → an address (guided)"), "g"),
        (_("Download a model"), "1"),
        (_("Start serving"), "2"),
        (_("Fine-tune"), "3"),
        (_("Merge a model"), "4"),
        (_("Jobs"), "5"),
        (_("Settings · 中文 / English"), "6"),
        (_("Data: check, clean, preview, public sets"), "7"),
        (_("Quantise a model: smaller, often faster"), "8"),
        (_("Quit"), "q"),
    ]


def loop() -> int:
    """Show the first screen, open what is chosen, until the person leaves. Returns the exit code."""
    from appliance.hardware import probe
    from appliance.jobs.control import check_workspace

    check_workspace()
    hardware = probe(settings.home())
    _end_of_container()
    while True:
        try:
            _first_screen(hardware)
            choice = questions.choose(
                _("What do you want to do?"), entries(), keys="".join(key for _text, key in entries())
            )
        except KeyboardInterrupt:
            if _may_leave():
                return 130
            continue
        if choice == "q":
            if _may_leave():
                return 0
            continue
        open_screen(choice, hardware)


def open_screen(choice: str, hardware: Any) -> None:
    """One screen. Ctrl-C leads back here, a problem is told and waits until it is read."""
    output.say()
    try:
        importlib.import_module(f"appliance.menu.{_SCREENS[choice]}").show(hardware)
    except KeyboardInterrupt:
        return
    except Exception as error:
        if settings.debug():
            raise
        output.say()
        output.error(explain(error))
    back()


def back() -> None:
    """Let a person read, then go back. Ctrl-C goes back as well."""
    output.say()
    try:
        questions.wait_for_enter(_("Any key: back to the menu"))
    except KeyboardInterrupt:
        return


def _first_screen(hardware: Any) -> None:
    from appliance.planning.headline import headline
    from appliance.show import machine_lines

    output.console().clear()
    output.say(_("appliance — your data, your model, your address"), "bold cyan")
    output.say()
    output.pairs(machine_lines(hardware, brief=True))
    for sentence in headline(hardware):
        output.say(f"→ {sentence}", "bold")
    for warning in hardware.warnings[:2]:
        output.warn(warning)
    output.say()


def _end_of_container() -> None:
    if settings.in_container():
        from appliance.jobs.control import install_end_of_container

        install_end_of_container()


def _may_leave() -> bool:
    """Outside a container jobs go on by themselves; inside, its end is theirs, so a person is asked."""
    from appliance.jobs.folder import all_jobs

    active = [job for job in all_jobs() if job.state().active]
    if not active:
        return True
    if not settings.in_container():
        output.note(_("Jobs that go on: {n} (appliance jobs list)").format(n=len(active)))
        return True
    try:
        stop = questions.choose(
            _("Jobs still running: {n}. Leaving ends this container.").format(n=len(active)),
            [(_("stay"), False), (_("save, stop them and leave"), True)],
        )
    except KeyboardInterrupt:
        return False
    if stop:
        from appliance.jobs.control import stop_all

        with output.waiting(_("stopping")):
            stop_all(patience=30.0)
    return bool(stop)
