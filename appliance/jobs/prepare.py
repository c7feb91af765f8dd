"""From a person's words to a draft of a job: every choice resolved, with its reason. The menu, the command line and
recipes all come through here, so they do the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import files, settings
from appliance.errors import ApplianceError, UsageError
from appliance.hub import model as models
from appliance.hub import workspace
from appliance.jobs import served as served_files
from appliance.jobs.control import Draft
from appliance.jobs.folder import Job, all_jobs, find
from appliance.locale import _

if TYPE_CHECKING:
    from appliance.planning.lengths import Lengths

ADAPTER_MANIFEST = "appliance-adapter.json"
_MERGED_SUFFIX = "-tuned"
# A tokenizer and its template take a quarter of a millisecond a row: the lengths of more rows are only guessed.
_COUNTED_ROWS = 20_000


class NotHere(ApplianceError):
    """The model is not on this machine, but a hub may have it: `reference` can be downloaded."""

    def __init__(self, reference: str):
        super().__init__(
            _("The model {name} is not on this machine yet.").format(name=reference),
            "",
            _("Download it: appliance download {name}").format(name=reference),
        )
        self.reference = reference


def command(*words: object) -> str:
    """The command line that does the same, ready to paste."""
    return shlex.join(["appliance", *(str(word) for word in words)])


def flags(**values: object) -> list[str]:
    """`--name value` for every value that is set; underscores become dashes, True is a bare flag."""
    words: list[str] = []
    for name, value in values.items():
        if value is None or value is False or value == "":
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return words


def model_folder(reference: str) -> Path:
    """The folder of M. Raises NotHere when only a hub can have it, ApplianceError when nobody can."""
    found = workspace.resolve(reference)
    if found is not None:
        return found
    name = _at_a_hub(reference)
    found = workspace.resolve(name)
    if found is not None:
        return found
    if workspace.is_hub_name(name):
        raise NotHere(name)
    here = ", ".join(model.name for model in workspace.list_models())
    raise ApplianceError(
        _("There is no model {name}.").format(name=reference),
        _("It is neither a folder nor a model in the workspace ({models}).").format(models=here or _("none yet")),
        _("Give a folder, one of those names, or owner/name to download it from a hub."),
    )


def _at_a_hub(reference: str) -> str:
    """owner/name for a name of the catalogue; other references as they are."""
    from appliance.planning.catalogue import hub_name

    return hub_name(reference)


# --- download --------------------------------------------------------------------------------------------------------


def download(reference: str, *, source: str = "auto", revision: str | None = None, to: str | None = None) -> Draft:
    """A model from a hub, a folder or an archive into the workspace."""
    reference = reference if Path(reference).expanduser().exists() else _at_a_hub(reference)
    target = Path(to).expanduser().absolute() if to else settings.models_folder() / workspace.folder_name(reference)
    damaged = _manifest_of(target)
    if damaged.get("damaged"):
        from appliance.jobs.models import refuse_in_use

        refuse_in_use(target.name, target)
        same = (damaged.get("source"), damaged.get("reference")) == ("huggingface", reference)
        if same and source in ("auto", "huggingface"):
            # Mended, not replaced by what is newest.
            source, revision = "huggingface", revision or damaged.get("revision")
    local = Path(reference).expanduser()
    if not local.exists() and not workspace.is_hub_name(reference):
        raise ApplianceError(
            _("{name} is neither a file or folder here nor a model's name at a hub.").format(name=reference),
            "",
            _("Write owner/name (such as Qwen/Qwen3-0.6B), or the path of a folder or archive."),
        )
    shown = str(local.absolute()) if local.exists() else reference
    where = {
        "modelscope": "ModelScope",
        "huggingface": "Hugging Face",
        "auto": _("ModelScope or Hugging Face, whichever answers"),
    }[source]
    return Draft(
        kind="download",
        name=workspace.folder_name(reference),
        spec={"reference": shown, "source": source, "revision": revision, "to": str(target)},
        facts=[
            (_("What"), _("Bring {name} here and check every file.").format(name=shown)),
            (_("From"), _("this machine") if local.exists() else where),
            (_("To"), str(target)),
            (_("Memory"), _("little; no GPU")),
            (_("Disk"), _("the size of the model; checked before the first byte")),
        ],
        command=command(
            "download", shown, *flags(source=None if source == "auto" else source, revision=revision, to=to)
        ),
    )


# --- fine-tune -------------------------------------------------------------------------------------------------------


def make_plan(
    model: str,
    *,
    data_file: Path | None = None,
    report: Any = None,
    task: str | None = None,
    rows_from: dict[str, Any] | None = None,
    wish: dict[str, Any] | None = None,
    hardware: Any = None,
) -> Any:
    """The plan for this model (a config.json is enough), this data and this machine.

    rows_from  how the data file is read, where that is not found out: file, mapping, task, sheet; `report` is of it
    """
    from appliance import data
    from appliance.hardware import probe
    from appliance.planning import calibration
    from appliance.planning.counting import Counter
    from appliance.planning.lengths import Lengths, matters
    from appliance.planning.plan import plan

    rows_from = rows_from or {"file": data_file}
    if rows_from["file"] is not None and report is None:
        report = data.check(**rows_from)
    lengths = Lengths.of(report.lengths, report.rough) if report else None
    machine = hardware or probe(settings.home())
    # What was measured here says nothing about another machine.
    known = None if hardware else calibration.load(settings.home())
    with looked_up(model) as found:

        def decide(lengths: Lengths | None, counter: Counter | None = None) -> Any:
            return plan(
                machine,
                found.shape,
                task=task or (report.task if report else "sft"),
                rows=report.kept if report else None,
                lengths=lengths,
                wish=wish or {},
                calibration=known,
                counter=counter,
            )

        if lengths and not found.sentence and len(lengths.tokens) <= _COUNTED_ROWS and matters(lengths, decide):
            lengths = _counted(rows_from, found.folder) or lengths
        made = decide(lengths, Counter(found.folder, settings.home()))
    if found.sentence:
        made.reasons = {"model": found.sentence, **made.reasons}
    return made


def _counted(rows_from: dict[str, Any], model: Path) -> Lengths | None:
    """The rows' lengths by the model's own tokenizer and template; None where that can't be had."""
    from appliance import data, output
    from appliance.planning.lengths import Lengths

    if not settings.python_of("train").exists():
        return None
    try:
        with output.waiting(_("counting the rows with the model's own tokenizer")):
            found = data.check(**rows_from, model=model).lengths
    except ApplianceError:  # a fine-tune looks at the tokenizer itself and says what is wrong
        return None
    # A folder with a config.json alone can't write a single row.
    return Lengths.of(found, rough=False) if any(found) else None


@dataclass(frozen=True)
class Looked:
    """What is known of a model before any of its weights are needed: a folder with its config.json, and its shape.

    sentence  said where it is not on this machine and the catalogue knows it; empty otherwise
    """

    folder: Path
    shape: Any
    sentence: str = ""


@contextmanager
def looked_up(reference: str) -> Iterator[Looked]:
    """M's configuration: its folder's, or the catalogue's where it is not here. Raises as `model_folder` does."""
    from appliance.planning import catalogue
    from appliance.planning.shape import read_shape

    try:
        here = model_folder(reference)
    except NotHere:
        known = catalogue.find(reference)
        if known is None:
            raise
        with known.folder() as folder:
            text = _("{name} is not here yet: its shape is the catalogue's. To get it: appliance download {name}")
            yield Looked(folder, known.shape(), text.format(name=known.name))
        return
    yield Looked(here, read_shape(here))


# The rows that a task needs, where they are not called as the task is.
_ROWS_OF = {"orpo": "dpo", "simpo": "dpo", "reward": "dpo"}
TASKS = ("sft", "pretrain", "dpo", "kto", "orpo", "simpo", "reward")


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
) -> Draft:
    """An adapter from a base model and a data file. Raises ApplianceError with what is wrong with either.

    adapter   one to go on training from; without `model`, its own base is taken
    held_out  the share of rows kept back to measure on; None: a small one, where there are enough rows
    """
    from appliance import data
    from appliance.planning import words

    if task not in ("auto", *TASKS):
        raise UsageError(_("There is no task {task}.").format(task=task), "", "auto | " + " | ".join(TASKS))
    earlier = adapter_folder(adapter) if adapter else None
    base, model = _base_and_name(model, earlier)
    file = Path(data_file).expanduser().absolute()
    wished_task = None if task == "auto" else task
    wished_rows = _ROWS_OF.get(task, wished_task)
    rows_from: dict[str, Any] = {"file": file, "mapping": mapping, "task": wished_rows, "sheet": sheet}
    report = data.check(**rows_from)
    task = wished_task or report.task
    if report.needs_consent and not accept_drops:
        raise TooManyDropped(report)
    facts = models.inspect(base, need_chat_template=task != "pretrain")
    if facts.quantised:
        raise ApplianceError(
            _("The base model {name} is quantised.").format(name=base.name),
            _("An adapter trained on it can't be merged without loss."),
            _("Download the original 16-bit model; the appliance makes it 4-bit by itself where memory is short."),
        )
    if facts.vision:
        raise ApplianceError(
            _("{name} is a model that sees pictures; those can't be fine-tuned yet.").format(name=base.name),
            "",
            _("Choose a text model: appliance models"),
        )
    plan = make_plan(model, report=report, task=task, rows_from=rows_from, wish=wish)
    if plan.verdict == "exceeds":
        raise ApplianceError(
            _("This model does not fit on this machine."),
            "; ".join(plan.reasons.values()),
            _("Choose a smaller model. `appliance plan` shows what would fit."),
            [alternative["sentence"] for alternative in plan.alternatives],
        )
    described = plan.as_dict()
    manifest = _manifest_of(base)
    wish = wish or {}
    same = command(
        "finetune",
        *flags(model=model, adapter=adapter, data=file, task=wished_task, sheet=sheet, name=name),
        *(word for key, value in (mapping or {}).items() for word in ("--map", f"{key}={value}")),
        *flags(**wish),
        *flags(held_out=held_out, yes=accept_drops),
    )
    return Draft(
        kind="finetune",
        name=name or base.name,
        spec={
            "model": str(base),
            "task": task,
            "earlier": str(earlier) if earlier else None,
            "base": {key: manifest.get(key) for key in ("source", "reference", "revision")},
            "seed": seed,
            "save_steps": save_steps,
        },
        environment="train",
        accelerators=plan.accelerators,
        uuids=plan.uuids,
        plan=described,
        rows_from={**rows_from, "held_out": _held_out(held_out)},
        facts=[
            (
                _("What"),
                _("Teach {model} with {rows} rows from {file}.").format(
                    model=base.name, rows=report.kept, file=file.name
                ),
            ),
            *words.rows(described, words.BRIEF),
            (_("Memory"), _memory(described)),
            (
                _("Disk"),
                _("about {n:.1f} GiB for the adapter and its checkpoints").format(n=described.get("disk_gib") or 0.1),
            ),
            *_time(described),
        ],
        warnings=[*plan.warnings, *map(str, report.warnings)],
        command=same,
        disk_gib=float(described.get("disk_gib") or 0.1),
    )


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
    own = _base_of(earlier, models.inspect_adapter(earlier).base)
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


def _time(plan: dict[str, Any]) -> list[tuple[str, str]]:
    from appliance import output

    seconds = plan.get("seconds")
    return [(_("Time"), _("about {time}").format(time=output.duration(seconds)))] if seconds else []


def _manifest_of(folder: Path) -> dict[str, Any]:
    from appliance.hub import manifest

    return manifest.read(folder) or {}


# --- merge -----------------------------------------------------------------------------------------------------------


def adapter_folder(reference: str) -> Path:
    """An adapter: its folder, the id of the fine-tune that made it, or `last` for the newest. Raises ApplianceError."""
    path = Path(reference).expanduser()
    if (path / "adapter_config.json").is_file():
        return path.absolute()
    if reference == "last":
        made = next((folder for _job, folder in adapters()), None)
        if made is None:
            raise _no_adapter(reference)
        return made
    if path.is_dir():
        models.inspect_adapter(path)
    found = workspace.resolve(reference)
    if found is not None and (found / "adapter_config.json").is_file():
        return found
    try:
        job = find(reference)
    except ApplianceError as error:
        raise _no_adapter(reference) from error
    result = job.result
    if not result or "adapter" not in result:
        raise ApplianceError(
            _("The job {id} has made no adapter.").format(id=job.id),
            _("It is {state}.").format(state=job.state().word),
            _("See it: appliance jobs show {id}").format(id=job.id),
        )
    return Path(result["adapter"])


def _no_adapter(reference: str) -> ApplianceError:
    return ApplianceError(
        _("There is no adapter {name}.").format(name=reference),
        _("An adapter is what a fine-tune makes."),
        _("Give its folder or the id of its fine-tune (appliance jobs list), or fine-tune first."),
    )


def adapters() -> list[tuple[Job, Path]]:
    """The adapters that fine-tunes in this workspace have made, newest first."""
    found = []
    for job in all_jobs():
        result = job.result or {}
        # A merge names the adapter that it used, too.
        if (
            job.kind == "finetune"
            and "adapter" in result
            and (Path(result["adapter"]) / "adapter_config.json").is_file()
        ):
            found.append((job, Path(result["adapter"])))
    return found


def merge(adapter: str, *, base: str | None = None, to: str | None = None) -> Draft:
    """A model of its own from an adapter and its base."""
    folder = adapter_folder(adapter)
    facts = models.inspect_adapter(folder)
    base_folder = model_folder(base) if base else _base_of(folder, facts.base)
    model = models.inspect(base_folder)
    if model.quantised:
        raise ApplianceError(
            _("The base model {name} is quantised.").format(name=base_folder.name),
            _("Merging onto 4- or 8-bit weights loses what was learned."),
            _("Download the original 16-bit model and name it with --base."),
        )
    target = _target(to, base_folder.name)
    size = model.size_bytes / 2**30
    return Draft(
        kind="merge",
        name=target.name,
        spec={"adapter": str(folder), "base": str(base_folder), "to": str(target), "name": target.name},
        facts=[
            (
                _("What"),
                _("Make one model of {base} and the adapter {adapter}.").format(
                    base=base_folder.name, adapter=_adapter_name(folder)
                ),
            ),
            (_("To"), str(target)),
            (_("Memory"), _("under 1 GiB; no GPU")),
            (_("Disk"), _("{n:.1f} GiB").format(n=size)),
        ],
        command=command("merge", folder, *flags(base=base, to=to)),
        disk_gib=size,
        disk_at=target.parent,
    )


def _adapter_name(folder: Path) -> str:
    return folder.parent.name if folder.name == "adapter" else folder.name


def _base_of(adapter: Path, named: str) -> Path:
    """The base that the adapter was trained on, where it still stands."""
    try:
        described = files.read_json(adapter / ADAPTER_MANIFEST).get("base") or {}
    except (OSError, ValueError):
        described = {}
    for candidate in (described.get("folder"), described.get("reference"), named):
        found = workspace.resolve(candidate) if candidate else None
        if found is not None and (found / "config.json").is_file():
            return found
    raise ApplianceError(
        _("The base model of this adapter is not on this machine."),
        _("It was trained on {name}.").format(name=described.get("reference") or named or "?"),
        _("Download that model and name it with --base."),
    )


def _target(to: str | None, base_name: str) -> Path:
    """Where the merged model goes: a path, a name in the workspace, or the base's name with a suffix that is free."""
    if to:
        path = Path(to).expanduser()
        target = path.absolute() if "/" in to else settings.models_folder() / workspace.folder_name(to)
        if target.exists():
            raise ApplianceError(
                _("{folder} is there already.").format(folder=target),
                _("A merge never writes over anything."),
                _("Choose another name with --to, or remove that folder first."),
            )
        return target
    stem = base_name if base_name.endswith(_MERGED_SUFFIX) else base_name + _MERGED_SUFFIX
    number = 1
    while (target := settings.models_folder() / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return target


# --- serve -----------------------------------------------------------------------------------------------------------


def serve(
    model: str,
    *,
    engine: str = "auto",
    host: str | None = None,
    port: int = 8000,
    name: str | None = None,
    length: int | None = None,
    adapters: Sequence[str] = (),
    key_file: str | None = None,
    no_key: bool = False,
    log_requests: bool = False,
) -> Draft:
    """An OpenAI-compatible address for a model. A key always guards it, unless it is refused on loopback.

    adapters      what is served beside the model: a folder, a fine-tune's id or `last`, as it is or as NAME=REFERENCE
    log_requests  whether requests and answers are written into the workspace
    """
    from dataclasses import replace

    from appliance import engines
    from appliance.engines import ports
    from appliance.hardware import probe
    from appliance.planning.serving import engine_options, serving_plan
    from appliance.planning.shape import read_shape

    if (Path(model).expanduser() / "adapter_config.json").is_file() and not (Path(model) / "config.json").is_file():
        raise ApplianceError(
            _("{name} is an adapter, not a model of its own.").format(name=model),
            "",
            _(
                "Merge it (appliance merge {name}), "
                "or serve it beside its base (appliance serve BASE --adapter {name})."
            ).format(name=model),
        )
    folder = model_folder(model)
    if not 0 < port < 65536:
        raise UsageError(_("{port} is no port.").format(port=port), "", _("A number from 1 to 65535, such as 8000."))
    asked_host, host = host, host or settings.serving_host(no_key)
    facts = models.inspect(folder, need_chat_template=True)
    hardware = probe(settings.home())
    chosen, reason = engines.choose(hardware, engine)
    if no_key and not ports.is_loopback(host):
        raise ApplianceError(
            _("Serving on {host} without a key is refused.").format(host=host),
            _("Anyone who reaches this machine could use the model."),
            _("Leave --no-key away, or serve on 127.0.0.1."),
        )
    served = name or folder.name
    beside = served_files.adapters(
        [(words, adapter_folder(words.rpartition("=")[2])) for words in adapters], folder, served, chosen.name
    )
    shape = read_shape(folder)
    trained = served_files.trained_dtype(Path(beside[0]["folder"]) if beside else folder)
    if trained and not facts.quantised:
        shape = replace(shape, dtype=trained)
    room = serving_plan(hardware, shape, length=length, most_parallel=chosen.most_parallel)
    options = {**engine_options(room), "family": facts.model_type}
    if len(beside) == 1:
        options["chat_template"] = served_files.chat_template(Path(beside[0]["folder"]), folder)
    keys = None if no_key else Path(key_file).expanduser().absolute() if key_file else settings.keys_folder()
    log = settings.requests_file(served.replace("/", "-")) if log_requests else None
    return Draft(
        kind="serve",
        name=served,
        spec={
            "model": str(folder),
            "name": served,
            "host": host,
            "port": port,
            "engine": chosen.name,
            "keys": str(keys) if keys else None,
            "log": str(log) if log else None,
            "adapters": beside,
            "options": options,
        },
        accelerators=room.accelerators,
        uuids=room.uuids,
        facts=[
            (_("What"), _("Serve {name} behind an OpenAI-compatible address.").format(name=served)),
            (_("Engine"), reason),
            (_("Address"), f"http://{host}:{port}/v1"),
            (_("Key"), str(keys) if keys else _("none: only this machine can reach it")),
            *([(_("Adapters"), ", ".join(each["name"] for each in beside))] if beside else []),
            *([(_("Request log"), str(log))] if log else []),
            (_("Memory"), room.sentence),
            (_("Disk"), _("none; the model has {n:.1f} GiB already").format(n=facts.size_bytes / 2**30)),
        ],
        command=command(
            "serve",
            model,
            *flags(
                engine=None if engine == "auto" else engine,
                host=asked_host,
                port=port,
                name=name,
                length=length,
            ),
            *(word for each in adapters for word in ("--adapter", each)),
            *flags(key_file=key_file, no_key=no_key, log_requests=log_requests),
        ),
    )
