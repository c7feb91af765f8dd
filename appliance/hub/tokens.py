"""A person's tokens for closed models: judged, kept with mode 0600, never shown again.

Where one is stored, only a worker that downloads or pushes reads it (`settings.hub_token`); it is passed to no child
process.
"""

from __future__ import annotations

from appliance import settings
from appliance.errors import ApplianceError, UsageError
from appliance.locale import _

NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_LONGEST = 500  # characters; the hubs' own have about 40


def problem(token: str) -> str | None:
    """What is wrong with a token, or None. It goes into a header, so nothing but plain characters may stand in it."""
    token = token.strip()
    if not token:
        return _("A token is needed: copy it from your account's settings at the hub.")
    if len(token) > _LONGEST or not token.isascii() or not token.isprintable() or " " in token:
        return _("This is no token: one word of plain letters, digits and signs is expected.")
    return None


def store(hub: str, token: str) -> None:
    """Keep a token for a hub. Raises UsageError for no such hub, ApplianceError for what can't be a token."""
    _check(hub)
    wrong = problem(token)
    if wrong:
        raise ApplianceError(
            _("The token for {hub} was not stored.").format(hub=NAMES[hub]), wrong, _("Copy it again and give it anew.")
        )
    settings.store_token(hub, token.strip())


def forget(hub: str) -> bool:
    """Remove the stored token; False where there was none."""
    _check(hub)
    had = bool(settings.stored_token(hub))
    settings.store_token(hub, "")
    return had


def state(hub: str) -> str:
    """Where the token for a hub comes from: `variable`, `stored`, or "" for none. The variable wins."""
    _check(hub)
    if settings.variable(settings.HUB_TOKENS[hub]).strip():
        return "variable"
    return "stored" if settings.stored_token(hub) else ""


def state_word(hub: str) -> str:
    """The same for a person."""
    words = {
        "variable": _("set by {variable}").format(variable=settings.HUB_TOKENS[hub]),
        "stored": _("stored"),
        "": _("none"),
    }
    return words[state(hub)]


def _check(hub: str) -> None:
    if hub not in NAMES:
        raise UsageError(_("There is no hub {name}.").format(name=hub), "", " | ".join(NAMES))
