"""3 开始微调."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from appliance import output, questions, settings
from appliance.errors import UsageError
from appliance.jobs import prepare
from appliance.jobs.folder import Job
from appliance.locale import _
from appliance.menu import pick, rows
from appliance.planning import possible
from appliance.planning.card import team
from appliance.planning.way import METHODS, method_name
from appliance.planning.wish import read_wish

_ADVANCED = "advanced"
_PAIRED = ("dpo", "orpo", "simpo", "reward")
_BY_ANSWERS = ("sft", "grpo")
_NEFTUNE = 5.0  # the strength that its paper begins with


def show(hardware: Any) -> None:
    """Which rows, which model; then the fine-tune as a job, and the merge when it is done."""
    file = pick.data_file()
    words = rows.look_at(file)
    model = pick.model(_("Which model should learn from it?"), hardware)
    if not pick.bring_here(model):
        return
    job = ask_and_start(model, file, words, len(team(hardware)[0]))
    done = job is not None and job.state().state == "done"
    if (
        job is not None
        and done
        and "adapter" in (job.result or {})
        and questions.yes(_("Merge it into a model of its own now?"))
    ):
        pick.start(prepare.merge(job.id))


def ask_and_start(model: str, file: str, words: dict[str, Any], cards: int) -> Job | None:
    """The plan with its reasons; start, change it, or go back.

    words  how the file is read
    cards  how many could work together here
    """
    how = {("mapping" if word == "map" else word): value for word, value in words.items()}
    wish: dict[str, Any] = {}
    accept = False
    while True:
        try:
            with output.waiting(_("planning")):
                draft = prepare.finetune(model, file, wish=wish, accept_drops=accept, **how)
        except prepare.TooManyDropped as problem:
            output.error(problem)
            if not questions.yes(_("Go on without those rows?"), default=False):
                return None
            accept = True
            continue
        except UsageError as problem:
            if not wish:
                raise
            output.error(problem)  # what was chosen under "advanced" can't be: as planned, then
            wish = {}
            continue
        chosen = pick.start(draft, extra=[(_("advanced"), _ADVANCED)])
        if chosen != _ADVANCED:
            return chosen if isinstance(chosen, Job) else None
        task = draft.spec["task"]
        if task in _PAIRED:
            task = how["task"] = _way_of_comparing(task)
        elif task in _BY_ANSWERS and not draft.spec["sees"]:
            how.update(_way_of_answering(task))
            task = how["task"]
        wish = _advanced(draft.plan or {}, cards, task)
        if settings.python_of("track").exists():
            how["track"] = _tracked(how.get("track", ()))


def _way_of_comparing(task: str) -> str:
    """How pairs of a better and a worse answer are learned from."""
    names = {
        "dpo": _("DPO: prefer the better answer, stay near the model as it was (usual)"),
        "orpo": _("ORPO: learn the better answer and avoid the worse one, without a reference"),
        "simpo": _("SimPO: prefer the better answer by its average word, without a reference"),
        "reward": _("A reward model: a number for any answer, no answers of its own"),
    }
    chosen = questions.choose(_("How should it learn from the pairs?"), [(names[k], k) for k in _PAIRED], default=task)
    return str(chosen)


def _way_of_answering(task: str) -> dict[str, Any]:
    """How questions and answers are learned from; for learning by trial also what makes an answer right."""
    names = {
        "sft": _("answer like these rows (usual)"),
        "grpo": _("solve tasks that can be checked: it tries answers, and the right ones count (GRPO)"),
    }
    ways = [(names[way], way) for way in _BY_ANSWERS]
    chosen = str(questions.choose(_("How should it learn from the rows?"), ways, default=task))
    if chosen != "grpo":
        return {"task": chosen, "rewards": ()}
    rewards = [(_("its last number is that of the row's answer"), "number"), (_("it is the row's answer"), "exact")]
    return {"task": chosen, "rewards": (questions.choose(_("When is an answer right?"), rewards),)}


def _tracked(before: Sequence[str]) -> list[str]:
    """Where the figures go besides TensorBoard's files."""
    names = {"": _("nowhere else"), "wandb": "Weights & Biases", "swanlab": "SwanLab"}
    title = _("Where can its figures be followed, besides TensorBoard?")
    chosen = questions.choose(title, [(label, name) for name, label in names.items()], default="".join(before[:1]))
    return [str(chosen)] if chosen else []


def _advanced(plan: dict[str, Any], cards: int, task: str = "sft") -> dict[str, Any]:
    """What an expert may want to change; what is left as it was stays the plan's own choice."""
    wish: dict[str, Any] = {}
    methods = [(method_name(method), method) for method in METHODS]
    method = questions.choose(_("Method:"), [(_("as planned"), None), *methods], default=None)
    if method:
        wish["method"] = method
    for name, label, kind in (
        ("rank", _("Rank:"), int),
        ("length", _("Longest row, in tokens:"), int),
        ("batch", _("Rows at once:"), int),
        ("epochs", _("Passes over the rows:"), float),
        ("learning_rate", _("Learning rate:"), float),
        ("gpus", _("Cards:"), int),
    ):
        if name == "gpus" and cards < 2:
            continue
        planned = plan.get("micro_batch" if name == "batch" else name)
        text = questions.text(label, "" if planned is None else f"{planned:g}", check=partial(_problem, name, kind))
        if text and kind(text) != planned:
            wish[name] = kind(text)
    if cards > 1 and wish.get("gpus") != 1 and (way := _shared_out()):
        wish["sharding"] = way
    wish.update(_switched(plan, task))
    return wish


def _shared_out() -> str | None:
    """How several cards work together; None: as planned."""
    names = {
        "ddp": _("each holds the whole model (data parallel)"),
        "fsdp": _("each holds a share of the model (FSDP2)"),
        "zero2": _("each holds the model, they share what is learned (DeepSpeed ZeRO 2)"),
        "zero3": _("they share the model and what is learned (DeepSpeed ZeRO 3)"),
    }
    ways = [(label, way) for way, label in names.items()]
    chosen = questions.choose(_("How the cards work together:"), [(_("as planned"), None), *ways], default=None)
    return None if chosen is None else str(chosen)


def _switched(plan: dict[str, Any], task: str = "sft") -> dict[str, Any]:
    """The techniques that are to be otherwise than planned, of those that the task can have."""
    names = {"packing": _("Short rows share a place (packing)"), "padding_free": _("Rows end to end, without padding")}
    if plan.get("device") == "cuda":
        names["flash"] = _("Attention by the flash_attn package, where it is installed")
        names["liger"] = _("Liger's kernels")
    names["checkpointing"] = _("Layers computed twice, to save memory (checkpointing)")
    if plan.get("device") != "mps":
        names["optimizer"] = _("The optimizer's states in 8 bits")
    names["neftune"] = _("NEFTune's noise")
    for name, on in (("packing", True), ("padding_free", True), ("neftune", _NEFTUNE)):
        if possible.clashes(task, read_wish({name: on})):
            del names[name]
    switched = {**plan, "optimizer": "8bit" in str(plan.get("optimizer"))}
    planned = [name for name in names if switched.get(name)]
    chosen = questions.several(_("Switched on:"), [(label, name) for name, label in names.items()], planned)
    wish: dict[str, Any] = {name: name in chosen for name in names if (name in chosen) != (name in planned)}
    if "optimizer" in wish:
        small = "paged_adamw_8bit" if plan.get("device") == "cuda" else "adamw_8bit"
        wish["optimizer"] = small if wish["optimizer"] else "adamw_torch_fused"
    if "neftune" in wish:
        wish["neftune"] = _NEFTUNE if wish["neftune"] else 0.0
    return wish


def _problem(name: str, kind: type, value: str) -> str | None:
    """What is wrong with a number, while it can still be mended."""
    if not value:
        return None
    try:
        read_wish({name: kind(value)})
    except ValueError:
        return _("A number above 0.")
    except UsageError as error:
        return error.problems[0].partition(": ")[2]
    return None
