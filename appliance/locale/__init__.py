"""Message catalogues (gettext). The message ids are the English sentences; zh_CN.po holds the Chinese.

`_` translates when it is called, so the language can be switched in the menu. Sentences with values use named fields:
`_("{rows} rows").format(rows=3)`. `make messages` collects the ids into the catalogue; a test fails on a missing one.
"""

from __future__ import annotations

import gettext
from pathlib import Path

from appliance import settings

LANGUAGES = {"en": "English", "zh": "中文"}
_CATALOGUE = {"zh": "zh_CN"}

_current: str | None = None
_translations: gettext.NullTranslations = gettext.NullTranslations()


def from_environment() -> str:
    """The language that the saved setting, APPLIANCE_LANG or the locale asks for: `zh` or `en`."""
    saved = settings.saved().get("language")
    candidates = [saved if isinstance(saved, str) else "", settings.variable("APPLIANCE_LANG")]
    candidates += [settings.variable(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    chosen = next((word for word in candidates if word and word.split(".")[0] not in ("C", "POSIX")), "en")
    return "zh" if chosen.lower().startswith("zh") else "en"


def set_language(language: str | None = None) -> None:
    """Use `zh` or `en` from here on; None takes what the environment asks for."""
    global _current, _translations
    _current = language or from_environment()
    name = _CATALOGUE.get(_current)
    _translations = (
        gettext.translation("messages", Path(__file__).parent, languages=[name], fallback=True)
        if name
        else gettext.NullTranslations()
    )


def language() -> str:
    """The language in use: `zh` or `en`."""
    if _current is None:
        set_language()
    assert _current is not None
    return _current


def _(message: str) -> str:
    """A sentence in the language in use."""
    if _current is None:
        set_language()
    return _translations.gettext(message)


def marked(message: str) -> str:
    """Mark a sentence for the catalogue without translating it yet (module constants)."""
    return message
