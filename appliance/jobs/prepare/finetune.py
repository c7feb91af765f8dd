"""An adapter from a base model and a data file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance import files, settings
from appliance import rewards as judging
from appliance.errors import ApplianceError, UsageError
from appliance.hub import model as models
from appliance.jobs import control
from appliance.jobs.control import Draft
from appliance.jobs.prepare.adapters import adapter_folder, base_of
from appliance.jobs.prepare.merge import target
from appliance.jobs.prepare.planned import make_plan
from appliance.jobs.prepare.words import command, flags, manifest_of, model_folder
from appliance.locale import _
from appliance.planning.way import WHOLE

# The rows that a task needs, where they are not called as the task is.
_ROWS_OF = {"orpo": "dpo", "simpo": "dpo", "reward": "dpo", "grpo": "sft", "rloo": "sft"}
TASKS = ("sft", "pretrain", "dpo", "kto", "orpo", "simpo", "reward", "grpo", "rloo")
TASK_CHOICES = " | ".join(("auto", *TASKS))


def finetune(
    model: str | None,
    data_file: str,
    *,
    task: str = "auto",
    adapter: str | None = None,
    wish: dict[str, Any] | None = None,
    mapping: dict[str, str] | None = None,
    sheet: str | None = None,
    name: str | None = None,
    accept_drops: bool = False,
    seed: int = 42,
    save_steps: int | None = None,
    held_out: float | None = None,
    rewards: Sequence[str] = (),
    track: Sequence[str] = (),
) -> Draft:
    """An adapter from a base model and a data file. Raises ApplianceError with what is wrong with either.

    adapter   one to go on training from; without `model`, its own base is taken
    rewards   what makes an answer a good one, for learning by trial (rewards.py)
    track     where its figures go as well: wandb, swanlab
    held_out  the share of rows kept back to measure on; None: a small one, where there are enough rows
    """
    from appliance import data
    from appliance.planning import words
    from appliance.planning.wish import SWITCHES

    if task not in ("auto", *TASKS):
        raise UsageError(_("There is no task {task}.").format(task=task), "", TASK_CHOICES)
    judged = _rewards(task, rewards)
    _check_trackers(track)
    earlier = adapter_folder(adapter) if adapter else None
    base, model = _base_and_name(model, earlier)
    file = Path(data_file).expanduser().absolute()
    wished_task = None if task == "auto" else task
    wished_rows = _ROWS_OF.get(task, wished_task)
    rows_from: dict[str, Any] = {"file": file, "mapping": mapping, "task": wished_rows, "sheet": sheet}
    report = data.check(**rows_from)
    task = wished_task or report.task
    wish = dict(wish or {})
    kept = _check_earlier(earlier, task, wish) if earlier else {}
    if wish.get("method") == "pissa" and task in ("dpo", "kto", "rloo"):
        raise UsageError(
            _("PiSSA can't be used for {task}.").format(task=task),
            _("It changes the weights that the model is held against."),
            "--method lora",
        )
    if wish.get("method") in WHOLE:
        _check_whole(task, earlier)
    if report.needs_consent and not accept_drops:
        raise TooManyDropped(report)
    facts = models.inspect(base, need_chat_template=task != "pretrain")
    if facts.quantised:
        raise ApplianceError(
            _("The base model {name} is quantised.").format(name=base.name),
            _("An adapter trained on it can't be merged without loss."),
            _("Download the original 16-bit model; the appliance makes it 4-bit by itself where memory is short."),
        )
    _check_pictures(base.name, facts.vision, report.images, task)
    plan = make_plan(model, report=report, task=task, rows_from=rows_from, wish={**wish, **kept})
    _check_sharding(plan, task)
    if plan.verdict == "exceeds":
        raise ApplianceError(
            _("This model does not fit on this machine."),
            "; ".join(plan.reasons.values()),
            _("Choose a smaller model. `appliance plan` shows what would fit."),
            [alternative["sentence"] for alternative in plan.alternatives],
        )
    described = plan.as_dict()
    to = target(None, base.name) if plan.method in WHOLE else None
    manifest = manifest_of(base)
    same = command(
        "finetune",
        *flags(model=model, adapter=adapter, data=file, task=wished_task, sheet=sheet, name=name),
        *(word for key, value in (mapping or {}).items() for word in ("--map", f"{key}={value}")),
        *flags(**wish),
        *(f"--no-{switch.replace('_', '-')}" for switch in SWITCHES if wish.get(switch) is False),
        *(word for reward in rewards for word in ("--reward", reward)),
        *(word for tracker in track for word in ("--track", tracker)),
        *flags(held_out=held_out, yes=accept_drops),
    )
    return Draft(
        kind="finetune",
        name=name or base.name,
        spec={
            "model": str(base),
            "task": task,
            "rewards": judged,
            "track": list(dict.fromkeys(track)),
            "steps": wish.get("steps"),
            "sees": facts.vision,
            "earlier": str(earlier) if earlier else None,
            "to": str(to) if to else None,
            "base": {
                **{key: manifest.get(key) for key in ("source", "reference", "revision")},
                # A merge then knows these weights again, wherever the base was downloaded to.
                "weights": {
                    name: entry["sha256"]
                    for name, entry in (manifest.get("files") or {}).items()
                    if name.endswith(".safetensors")
                },
            },
            "seed": seed,
            "save_steps": save_steps,
        },
        environment="train",
        accelerators=plan.accelerators,
        uuids=plan.uuids,
        plan=described,
        rows_from={**rows_from, "held_out": _held_out(held_out) if task not in judging.TASKS else 0.0},
        facts=[
            (
                _("What"),
                _("Teach {model} with {rows} rows from {file}.").format(
                    model=base.name, rows=report.kept, file=file.name
                ),
            ),
            *words.rows(described, words.BRIEF),
            (_("Memory"), _memory(described)),
            (_("Disk"), _disk(described)),
            *([(_("To"), str(to))] if to else []),
            *_time(described),
        ],
        warnings=[*plan.warnings, *map(str, report.warnings)],
        command=same,
        disk_gib=float(described.get("disk_gib") or 0.1),
    )


def _check_earlier(earlier: Path, task: str, wish: dict[str, Any]) -> dict[str, Any]:
    """What the plan must take over from an adapter that training goes on from. Raises UsageError."""
    facts = models.inspect_adapter(earlier)
    judge = files.read_json(earlier / "adapter_config.json").get("task_type") == "SEQ_CLS"
    if judge or task == "reward":
        raise UsageError(
            _("A reward model can't go on from another adapter, nor another adapter from it."),
            "",
            _("Merge the adapter first (appliance merge), and train on the model that this makes."),
        )
    unlike = [name for name in ("rank", "method") if wish.get(name) not in (None, "lora", "qlora", facts.rank)]
    if unlike:
        raise UsageError(
            _("An adapter that goes on learning keeps its rank and its kind."),
            ", ".join(f"--{name}" for name in unlike),
            _("Leave them out."),
        )
    return {"rank": facts.rank} if facts.rank else {}


def _check_whole(task: str, earlier: Path | None) -> None:
    """Whether all weights can be trained for this. Raises UsageError."""
    if earlier:
        raise UsageError(
            _("An adapter can't go on learning as a whole model."), "", _("Merge it first: appliance merge ADAPTER")
        )
    if task in ("dpo", "kto", *judging.TASKS):
        raise UsageError(
            _("All weights can't be trained for {task}.").format(task=task),
            _("Answers are held against the model as it was, which an adapter still has beneath it."),
            "--method lora",
        )


def _check_sharding(plan: Any, task: str) -> None:
    """Raises UsageError for what DeepSpeed is not used for here, ApplianceError where it is not installed."""
    if not plan.sharding.startswith("zero"):
        return
    if task not in ("sft", "pretrain") or plan.method not in ("lora", "rslora", "lora+"):
        raise UsageError(
            _("DeepSpeed is not used for {task} with {method}.").format(task=task, method=plan.method),
            _("Only for learning from answers or text, with LoRA, rsLoRA or LoRA+."),
            "--sharding auto",
        )
    if not settings.python_of("deepspeed").exists():
        raise control.missing_environment("deepspeed")


def _check_trackers(names: Sequence[str]) -> None:
    for name in names:
        if name not in settings.TRACKERS:
            raise UsageError(_("There is no tracker {name}.").format(name=name), "", " | ".join(settings.TRACKERS))
    if names and not settings.python_of("track").exists():
        raise control.missing_environment("track")


def _check_pictures(name: str, sees: bool, images: int, task: str) -> None:
    """Raises ApplianceError where the model and the rows' pictures don't belong together."""
    if images and not sees:
        raise ApplianceError(
            _("The rows show {n} pictures, and {name} can't see.").format(n=images, name=name),
            _("It is a model for text alone."),
            _("Choose a model that sees, such as Qwen3-VL, InternVL or Gemma 3 (appliance models)."),
        )
    if sees and task != "sft":
        raise ApplianceError(
            _("{name} is a model that sees: it can only learn from questions and answers so far.").format(name=name),
            _("The task is {task}.").format(task=task),
            _("Choose a text model, or rows with questions and answers."),
        )


def _rewards(task: str, words: Sequence[str]) -> list[dict[str, Any]] | None:
    if task in judging.TASKS:
        return judging.parse(words)
    if words:
        raise UsageError(
            _("Rewards are for learning by trial."), _("The task is {task}.").format(task=task), "--task grpo"
        )
    return None


def _held_out(share: float | None) -> float:
    from appliance.data.held_out import SHARE

    if share is not None and not 0 <= share < 1:
        raise UsageError(
            _("{share} can't be the share of rows held out.").format(share=share),
            "",
            _("From 0 to below 1, such as 0.05."),
        )
    return SHARE if share is None else share


def _base_and_name(model: str | None, earlier: Path | None) -> tuple[Path, str]:
    """The base's folder and a person's word for it."""
    if model is None and earlier is None:
        raise UsageError(_("--model is missing."), "", _("Say which model should learn, or which adapter goes on."))
    if earlier is None:
        assert model is not None
        return model_folder(model), model
    own = base_of(earlier, models.inspect_adapter(earlier).base)
    base = model_folder(model) if model else own
    if base != own:
        raise ApplianceError(
            _("That adapter was not trained on {name}.").format(name=base.name),
            _("Its base is {base}.").format(base=own),
            _("Leave --model out, or choose another adapter."),
        )
    return base, model or str(base)


class TooManyDropped(ApplianceError):
    """More than a tenth of the rows can't be used: a person must say that this is all right."""

    def __init__(self, report: Any):
        super().__init__(
            _("{dropped} of {rows} rows can't be used.").format(dropped=report.rows - report.kept, rows=report.rows),
            _("That is more than one in ten; something may be wrong with the file."),
            _("Look at them (appliance data check {file}); to go on without them, add --yes.").format(file=report.file),
            [f"{item['sentence']} ({item['count']})" for item in report.as_dict()["dropped"]],
        )
        self.report = report


def _memory(plan: dict[str, Any]) -> str:
    memory = plan["memory"]
    return _("about {n:.1f} GiB (between {low:.1f} and {high:.1f})").format(
        n=memory["total_gib"], low=memory["low_gib"], high=memory["high_gib"]
    )


def _disk(plan: dict[str, Any]) -> str:
    text = _("about {n:.1f} GiB for the adapter and its checkpoints")
    if plan["method"] in WHOLE:
        text = _("about {n:.1f} GiB for the model and its checkpoints")
    return text.format(n=plan.get("disk_gib") or 0.1)


def _time(plan: dict[str, Any]) -> list[tuple[str, str]]:
    from appliance import output

    seconds = plan.get("seconds")
    return [(_("Time"), _("about {time}").format(time=output.duration(seconds)))] if seconds else []
