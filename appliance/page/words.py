"""What the page says, in both languages: the browser's own language decides, not the one of the terminal."""

from __future__ import annotations

from appliance.locale import LANGUAGES, _, set_language


def all_of_them(model: str, signed_in: bool) -> dict[str, dict[str, str]]:
    """{language: {name of a sentence: its text}}. `signed_in`: with a key, so that one can leave."""
    made = {}
    for language in LANGUAGES:
        set_language(language)
        made[language] = {
            "title": _("Talk to {model}").format(model=model),
            "key": _("The key of this server"),
            "enter": _("Enter"),
            "wrong": _("This key opens nothing. Look for it in the key file that was shown when serving started."),
            "where": _("Whoever started the server has it: appliance keys add NAME makes one for you."),
            "ask": _("Ask something …"),
            "model": _("Model"),
            "foot": _("Thumbs up and down are kept on the server, to make the model better with."),
            "kept": _("Kept."),
            "gone": _("You are signed out. Load the page again."),
            "failed": _("The server did not answer: {why}"),
        }
        if signed_in:
            made[language]["foot"] += " [" + _("Sign out") + "](/sign-out)"
    set_language()
    return made
