"""Settings: language, where models come from, tokens and keys."""

from __future__ import annotations

from typing import Any

from appliance import output, questions, settings
from appliance.engines import keys
from appliance.hub import tokens
from appliance.locale import LANGUAGES, _, language, set_language


def show(_hardware: Any) -> None:
    """Change one setting."""
    sources = {"auto": _("whichever answers"), **tokens.NAMES}
    what = questions.choose(
        _("Which setting?"),
        [
            (f"语言 / Language: {LANGUAGES[language()]}", "language"),
            (_("Where models come from: {source}").format(source=sources[_source()]), "source"),
            *((_token_line(hub), hub) for hub in tokens.NAMES),
            (_("Keys for the servers: {n}").format(n=len(keys.everyone())), "keys"),
            (_("Workspace: {home} (APPLIANCE_HOME)").format(home=settings.home()), "home"),
            (_("back"), ""),
        ],
    )
    if what == "language":
        chosen = questions.choose(
            "语言 / Language", [(name, code) for code, name in LANGUAGES.items()], default=language()
        )
        settings.save(language=chosen)
        set_language(chosen)
    elif what == "source":
        source = questions.choose(
            _("Where should models come from?"), [(text, name) for name, text in sources.items()], default=_source()
        )
        settings.save(source=source)
    elif what in tokens.NAMES:
        if not _change_token(what):
            return
    elif what == "keys":
        _change_keys()
        return
    elif what == "home":
        output.note(
            _("Everything you own stands in {home}. Another place: start with APPLIANCE_HOME=/path.").format(
                home=settings.home()
            )
        )
        return
    if what:
        output.good(_("Saved."))


def _source() -> str:
    """The hub that is set; what nobody knows (an edited file) counts as not set."""
    saved = settings.saved().get("source")
    return saved if saved in tokens.NAMES else "auto"


def _token_line(hub: str) -> str:
    return _("Token for closed models at {hub}: {state}").format(hub=tokens.NAMES[hub], state=tokens.state_word(hub))


def _change_token(hub: str) -> bool:
    """Give one unseen, or forget the stored one; False when nothing was changed."""
    if tokens.state(hub) == "variable":
        output.note(_("{variable} is set and wins over the stored one.").format(variable=settings.HUB_TOKENS[hub]))
    choices = [
        (_("give one, unseen"), "give"),
        *([(_("forget the stored one"), "forget")] if settings.stored_token(hub) else []),
    ]
    what = questions.choose(_("What now?"), [*choices, (_("back"), "")])
    if what == "give":
        question = _("Your token for {hub}:").format(hub=tokens.NAMES[hub])
        tokens.store(hub, questions.secret(question, check=tokens.problem))
    elif what == "forget":
        tokens.forget(hub)
    return bool(what)


def _change_keys() -> None:
    """Who may ask the servers: a new key, or none any more for somebody."""
    lines = [
        (_("{name}  (made {when})").format(name=key["name"], when=key["made"][:16].replace("T", " ")), key["name"])
        for key in keys.everyone()
    ]
    name = questions.choose(_("Whose key?"), [*lines, (_("a new one"), None), (_("back"), "")])
    if name is None:
        name = questions.text(_("Whose is it to be?"), check=_name_problem)
        made = keys.add(name)
        output.paste(made)
        output.note(_("Running servers take it already. It is not shown again."))
    elif name and questions.yes(_("Revoke it? Then it opens nothing any more."), default=False):
        keys.revoke(name)
        output.good(_("{name} opens nothing any more.").format(name=name))


def _name_problem(name: str) -> str | None:
    if not keys.is_name(name):
        return _("Use letters, digits, dots and dashes.")
    taken = name in (key["name"] for key in keys.everyone())
    return _("There is a key {name} already.").format(name=name) if taken else None
