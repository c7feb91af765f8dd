"""What can't be had together, said before anything is loaded: every other combination of wishes has a plan."""

from __future__ import annotations

from appliance.errors import ApplianceError, UsageError
from appliance.locale import _
from appliance.planning.shape import Shape
from appliance.planning.techniques import PLAIN_TASKS
from appliance.planning.way import WHOLE
from appliance.planning.wish import SPLITTING, Wish
from appliance.rewards import TASKS as BY_TRIAL

# Adapters that stay whole on each card while the weights beneath are shared out: DoRA's lengths and PiSSA's beginning
# need whole matrices, packed weights can't be split.
SPLITTABLE = ("lora", "rslora", "lora+")
# Tasks that hold the model against what it was without its adapter.
_AGAINST_ITSELF = ("dpo", "kto", "rloo")


def check(shape: Shape, task: str, wanted: Wish, images: int, device: str) -> None:
    """Raises ApplianceError where model, rows and task don't belong together, UsageError with every wish that can't
    be fulfilled beside the others.

    images  how many pictures the rows show
    """
    check_seen(shape, images)
    if shape.vision and task != "sft":
        raise ApplianceError(
            _("A model that sees can only learn from questions and answers so far."),
            _("The task is {task}.").format(task=task),
            _("Choose a text model, or rows with questions and answers."),
        )
    found = [*clashes(task, wanted), *_of_machine(shape, wanted, device)]
    if len(found) == 1:
        raise UsageError(*found[0])
    if found:
        raise UsageError(
            _("These wishes can't be fulfilled together."),
            "",
            "  ".join(dict.fromkeys(step for _what, _why, step in found)),
            [f"{what} {why}".strip() for what, why, _step in found],
        )


def check_seen(shape: Shape, images: int) -> None:
    """Raises ApplianceError where the rows show pictures and the model can't see."""
    if images and not shape.vision:
        raise ApplianceError(
            _("The rows show {n} pictures, and this model can't see.").format(n=images),
            _("It is a model for text alone."),
            _("Choose a model that sees, such as Qwen3-VL, InternVL or Gemma 3 (appliance models)."),
        )


def clashes(task: str, wanted: Wish) -> list[tuple[str, str, str]]:
    """(what, why, next step) of wishes that no model and no machine fulfils together.

    task  what is learned, or `auto` where only the rows tell
    """
    found = [*_of_method(task, wanted), *_of_sharding(task, wanted), *_of_layout(task, wanted)]
    if wanted.optimizer and wanted.method == "galore":
        what = _("{optimizer} can't be used with GaLore.").format(optimizer=wanted.optimizer)
        found.append((what, _("GaLore is an optimizer of its own."), "--optimizer auto"))
    if wanted.neftune and task in (*_AGAINST_ITSELF, *BY_TRIAL):
        what = _("NEFTune can't be used for {task}.").format(task=task)
        why = _("Its noise would be taken for a difference to the model as it was.")
        if task in BY_TRIAL:
            why = _("Its noise would be in the answers that are tried.")
        found.append((what, why, "--neftune 0"))
    return found


def _of_method(task: str, wanted: Wish) -> list[tuple[str, str, str]]:
    if wanted.method == "pissa" and task in _AGAINST_ITSELF:
        return [
            (
                _("PiSSA can't be used for {task}.").format(task=task),
                _("It changes the weights that the model is held against."),
                "--method lora",
            )
        ]
    if wanted.method in WHOLE and task in (*_AGAINST_ITSELF, "grpo"):
        return [
            (
                _("All weights can't be trained for {task}.").format(task=task),
                _("Answers are held against the model as it was, which an adapter still has beneath it."),
                "--method lora",
            )
        ]
    return []


def _of_sharding(task: str, wanted: Wish) -> list[tuple[str, str, str]]:
    if wanted.sharding not in SPLITTING:
        return []
    way, step = {"sharding": wanted.sharding}, "--sharding auto"
    found = []
    if task not in (*PLAIN_TASKS, "auto"):
        what = _("{sharding} can't be used for {task}.").format(task=task, **way)
        found.append((what, _("Only learning from answers or text shares a model between cards."), step))
    if wanted.method is not None and wanted.method not in SPLITTABLE:
        what = _("{sharding} can't be used with {method}.").format(method=wanted.method, **way)
        found.append((what, _("Only LoRA, rsLoRA and LoRA+ leave the weights beneath as they can be shared."), step))
    return found


def _of_layout(task: str, wanted: Wish) -> list[tuple[str, str, str]]:
    found = []
    if wanted.packing and wanted.padding_free is False:
        what = _("Rows can't be packed where they are padded.")
        found.append((what, _("A pack's rows go through the model end to end."), "--padding-free"))
    if task in (*PLAIN_TASKS, "auto"):
        return found
    why = _("Answers that are compared are laid out side by side.")
    if task in BY_TRIAL:
        why = _("Answers that are tried are laid out side by side.")
    for name, asked in (("packing", wanted.packing), ("padding_free", wanted.padding_free)):
        if asked:
            what = _("{switch} can't be used for {task}.").format(switch=name, task=task)
            found.append((what, why, f"--no-{name.replace('_', '-')}"))
    return found


def _of_machine(shape: Shape, wanted: Wish, device: str) -> list[tuple[str, str, str]]:
    """What this model or this machine has not."""
    found = []
    if shape.vision and wanted.sharding in SPLITTING:
        what = _("{sharding} can't be used for a model that sees.").format(sharding=wanted.sharding)
        found.append((what, _("Each card holds such a model whole."), "--sharding auto"))
    if (wanted.optimizer or "").startswith("paged") and device != "cuda":
        what = _("{optimizer} can't be used here.").format(optimizer=wanted.optimizer)
        why = _("It moves states between an NVIDIA card and the processor's memory.")
        found.append((what, why, "--optimizer auto"))
    return found
