"""Watch a job with a person in front: Ctrl-C asks whether to leave it running. Used by the commands and the menu."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance import files, output, questions, settings
from appliance.jobs import control
from appliance.jobs.folder import Job, State, serving
from appliance.jobs.watch import how_to_ask, watch
from appliance.locale import _


def attend(job: Job, until_ready: bool = False) -> State | None:
    """Watch until the job ended (a serve: until it answers). None: the person went away and left it running."""
    while True:
        try:
            return watch(job, until_ready)
        except KeyboardInterrupt:
            wish = _wish(job)
        if wish == "leave":
            output.note(_("The job goes on: appliance jobs show {id}").format(id=job.id))
            return None
        if wish == "stop":
            with output.waiting(_("stopping")):
                return control.stop(job)


def _wish(job: Job) -> str:
    if output.is_json() or not (sys.stdin.isatty() and output.console().is_terminal):
        # Nobody can be asked. In the image the end of this process would kill the job, so it is ended cleanly.
        return "stop" if settings.in_container() else "leave"
    try:
        return str(
            questions.choose(
                _("The job is still running."),
                [(_("leave it running"), "leave"), (_("go on watching"), "watch"), (_("stop it"), "stop")],
            )
        )
    except KeyboardInterrupt:  # a second Ctrl-C: away, without hurting the work
        return "leave"


def show_address(job: Job) -> None:
    """Where a serve job answers, and a line to try it."""
    at = serving(job)
    output.good(_("It answers."))
    rows = [(_("Address"), at["address"]), (_("Model name"), at["model"])]
    rows += [(_("Adapters"), ", ".join(at["adapters"]))] if at["adapters"] else []
    rows.append((_("Key file"), at["key_file"] or _("none")))
    output.pairs([*rows, *([(_("Chat page"), at["page"])] if at["page"] else [])])
    shown = job.folder / "key-shown"  # whoever looks at this server again does not see its key
    if at["new_key"] and not shown.exists():
        from appliance.engines import keys

        output.say(_("The key, shown this once:"), "bold")
        output.paste(keys.read_key(Path(at["key_file"])))
        files.write_text(shown, "")
    curl, _python = how_to_ask(at["address"], at["model"], at["key_file"], _("Hello"))
    output.say(_("Try it:"), "bold")
    output.paste(curl)
    if at["page"]:
        output.note(_("The chat page asks for the key and opens in any browser."))
    output.note(_("Or talk to it here: appliance chat {id}").format(id=job.id))
    output.note(_("End it: appliance jobs stop {id}").format(id=job.id))
