"""What came of a training, in one sentence."""

from __future__ import annotations

from typing import Any

from appliance.locale import _

# Of the loss: less than that is noise. And how far above its best the held-out loss may end.
_LEARNED, _TURNED = 0.02, 0.02


def verdict(result: dict[str, Any]) -> tuple[bool, str]:
    """(good, sentence) from a fine-tune's result: its losses, held out ones where there are some, and its answers."""
    first, last = result.get("loss_first"), result.get("loss_last")
    held = result.get("held_out") or {}
    tried = result.get("reward")
    if tried:
        text = _("reward {a:.2f} → {b:.2f}").format(a=tried["first"], b=tried["last"])
        if tried["last"] <= tried["first"]:
            advice = _("the answers did not become better: easier rows, other rewards or more steps may help")
            return False, _sentence([text, advice])
        return True, _sentence([text, _ready(result)])
    if held.get("first") is not None and held.get("best") is not None:
        before, after, what = held["first"], held["best"], _("held-out loss {a:.2f} → {b:.2f}")
    elif first is not None and last is not None:
        before, after, what = first, last, _("loss {a:.2f} → {b:.2f}")
    else:
        return False, _("It took no step, so nothing was learned.")
    said = [what.format(a=before, b=after)]
    early = bool(held) and result.get("steps", 0) < result.get("steps_meant", 0)
    if early:
        said.append(
            _(
                "it ended at step {step} of {all}, since on rows that it was not taught it had not become better after"
                " step {best}, whose state was kept"
            ).format(step=result["steps"], all=result["steps_meant"], best=held["best_step"])
        )
    stops = result.get("stops")
    if after >= before * (1 - _LEARNED):
        advice = _("hardly anything was learned: more passes (--epochs) or a higher --learning-rate may help")
        return False, _sentence([*said, advice])
    if not early and held.get("last") is not None and held["last"] > held["best"] * (1 + _TURNED):
        said.append(
            _("after step {step} it only learned its rows by heart, so the state of that step was kept").format(
                step=held["best_step"]
            )
        )
    if stops is False:
        said.append(_("it does not stop by itself: the answers run on; more rows or passes may help"))
        return False, _sentence(said)
    if stops:
        said.append(_("stops on its own"))
    said.append(_ready(result))
    return True, _sentence(said)


def _ready(result: dict[str, Any]) -> str:
    if result.get("task") == "reward":
        return _("ready to judge answers")
    return _("ready to be served") if result.get("made") else _("ready to merge")


def _sentence(parts: list[str]) -> str:
    text = _("; ").join(parts)
    return text[:1].upper() + text[1:] + _(".")
