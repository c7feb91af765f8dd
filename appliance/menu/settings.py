"""Settings: language and where models come from."""

from __future__ import annotations

from typing import Any

from appliance import output, questions, settings
from appliance.locale import LANGUAGES, _, language, set_language


def show(_hardware: Any) -> None:
    """Change one setting."""
    what = questions.choose(
        _("Which setting?"),
        [
            (f"语言 / Language: {LANGUAGES[language()]}", "language"),
            (_("Where models come from: {source}").format(source=settings.saved().get("source", "auto")), "source"),
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
            _("Where should models come from?"),
            [(_("whichever answers"), "auto"), ("ModelScope", "modelscope"), ("Hugging Face", "huggingface")],
        )
        settings.save(source=source)
    elif what == "home":
        output.note(
            _("Everything you own stands in {home}. Another place: start with APPLIANCE_HOME=/path.").format(
                home=settings.home()
            )
        )
        return
    if what:
        output.good(_("Saved."))
