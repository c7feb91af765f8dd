"""An adapter from a base model and a data file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from appliance.jobs.prepare.planned import make_plan, rows_from
from appliance.jobs.prepare.words import command, flags, manifest_of, model_folder
from appliance.locale import _
from appliance.planning import possible
from appliance.planning.way import WHOLE
from appliance.planning.wish import SWITCHES, WISHES, read_wish

_FEWEST = 2  # checkpoints: the last one and the best one


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
    keep_checkpoints: int | None = None,
    held_out: float | None = None,
    rewards: Sequence[str] = (),
    track: Sequence[str] = (),
) -> Draft:
    """An adapter from a base model and a data file. Raises ApplianceError with what is wrong with either.

    adapter   one to go on training from; without `model`, its own base is taken
    rewards   what makes an answer a good one, for learning by trial (rewards.py)
    track     where its figures go as well: wandb, swanlab
    keep_checkpoints  so many stay, also when it is done; None: two while it learns, none afterwards
    held_out  the share of rows kept back to measure on; None: a small one, where there are enough rows
    """
    from appliance import data
    from appliance.planning import words

    file = Path(data_file).expanduser().absolute()
    how = rows_from(file, task=task, mapping=mapping, sheet=sheet)
    judged = _rewards(task, rewards)
    _check_trackers(track)
    if track and not settings.python_of("track").exists():
        raise control.missing_environment("track")
    _check_kept(keep_checkpoints)
    share = _check_held_out(held_out)
    earlier = adapter_folder(adapter) if adapter else None
    base, model = _base_and_name(model, earlier)
    wished_task = None if task == "auto" else task
    report = data.check(**how)
    task = wished_task or report.task
    wish = dict(wish or {})
    kept = _check_earlier(earlier, task, wish) if earlier else {}
    if report.needs_consent and not accept_drops:
        raise TooManyDropped(report)
    facts = models.inspect(base, need_chat_template=task != "pretrain")
    if facts.quantised:
        raise ApplianceError(
            _("The base model {name} is quantised.").format(name=base.name),
            _("An adapter trained on it can't be merged without loss."),
            _("Download the original 16-bit model; the appliance makes it 4-bit by itself where memory is short."),
        )
    plan = make_plan(model, report=report, task=task, rows_from=how, wish={**wish, **kept})
    if plan.sharding.startswith("zero") and not settings.python_of("deepspeed").exists():
        raise control.missing_environment("deepspeed")
    if plan.verdict == "exceeds":
        raise ApplianceError(
            _("This model does not fit on this machine."),
            "; ".join(plan.reasons.values()),
            _("Choose a smaller model. `appliance plan` shows what would fit."),
            [alternative["sentence"] for alternative in plan.alternatives],
        )
    if keep_checkpoints:
        plan.disk_gib = round(plan.disk_gib * keep_checkpoints / _FEWEST, 3)
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
        *flags(held_out=held_out, keep_checkpoints=keep_checkpoints, yes=accept_drops),
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
            "keep_checkpoints": keep_checkpoints,
        },
        environment="train",
        accelerators=plan.accelerators,
        uuids=plan.uuids,
        plan=described,
        rows_from={**how, "held_out": share if task not in judging.TASKS else 0.0},
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
        warnings=[*plan.warnings, *_none_held_out(held_out, report.kept, task), *map(str, report.warnings)],
        command=same,
        disk_gib=float(described.get("disk_gib") or 0.1),
    )


def _check_earlier(earlier: Path, task: str, wish: dict[str, Any]) -> dict[str, Any]:
    """What the plan must take over from an adapter that training goes on from. Raises UsageError."""
    facts = models.inspect_adapter(earlier)
    judge = files.read_json(earlier / "adapter_config.json").get("task_type") == "SEQ_CLS"
    same_rank = wish.get("rank") in (None, facts.rank)
    _check_goes_on("reward" if judge else task, wish.get("method"), same_rank=same_rank)
    return {"rank": facts.rank} if facts.rank else {}


def _check_goes_on(task: str, method: str | None, *, same_rank: bool = True) -> None:
    """Raises UsageError for what an adapter that goes on learning can't become."""
    if task == "reward":
        raise UsageError(
            _("A reward model can't go on from another adapter, nor another adapter from it."),
            "",
            _("Merge the adapter first (appliance merge), and train on the model that this makes."),
        )
    unlike = [] if same_rank else ["--rank"]
    unlike += [] if method in (None, "auto", "lora", "qlora") else ["--method"]
    if unlike:
        raise UsageError(
            _("An adapter that goes on learning keeps its rank and its kind."), ", ".join(unlike), _("Leave them out.")
        )


def _check_trackers(names: Sequence[str]) -> None:
    """Raises UsageError for one that is not known."""
    for name in names:
        if name not in settings.TRACKERS:
            raise UsageError(_("There is no tracker {name}.").format(name=name), "", " | ".join(settings.TRACKERS))


def _check_kept(checkpoints: int | None) -> None:
    """Raises UsageError where so few checkpoints can't be kept."""
    if checkpoints is not None and checkpoints < _FEWEST:
        raise UsageError(_("At least {n} checkpoints are kept.").format(n=_FEWEST), "", "--keep-checkpoints 3")


def _rewards(task: str, words: Sequence[str]) -> list[dict[str, Any]] | None:
    if task in judging.TASKS:
        return judging.parse(words)
    if words:
        raise UsageError(
            _("Rewards are for learning by trial."), _("The task is {task}.").format(task=task), "--task grpo"
        )
    return None


def _none_held_out(share: float | None, rows: int, task: str) -> list[str]:
    """Where rows were asked to be held out, and the file is too small for it, or the task knows none."""
    from appliance.data.held_out import FEWEST_ROWS

    if share and task in judging.TASKS:
        return [_("No rows are held out: what is learned by trial is measured by its rewards.")]
    text = _("No rows are held out: of fewer than {n} every one is needed to learn from.")
    return [text.format(n=FEWEST_ROWS)] if share and rows < FEWEST_ROWS else []


def _check_held_out(share: float | None) -> float:
    """The share of rows to hold out, a small one where none was named. Raises UsageError."""
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


def unfulfillable(words: dict[str, Any]) -> list[str]:
    """What is wrong with a fine-tune's words before its model and its rows are looked at; their types are right."""
    try:
        wish = read_wish({name: words[name] for name in WISHES if name in words})
    except UsageError as error:
        return error.problems
    task = words.get("task", "auto")
    found = [f"{what} {why}" for what, why, _step in possible.clashes(task, wish)]
    checks: list[Callable[[], object]] = [
        lambda: _check_kept(words.get("keep_checkpoints")),
        lambda: _check_held_out(words.get("held_out")),
        lambda: _check_trackers(words.get("track", ())),
    ]
    if "adapter" in words:
        checks.append(lambda: _check_goes_on(task, wish.method))
    for check in checks:
        try:
            check()
        except UsageError as error:
            found.append(f"{error.what} {error.next_step}")
    return found


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
