"""What a person means by an adapter, and the base that it belongs to."""

from __future__ import annotations

from pathlib import Path

from appliance import files
from appliance.errors import ApplianceError
from appliance.hub import model as models
from appliance.hub import workspace
from appliance.jobs.folder import Job, all_jobs, find
from appliance.locale import _


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


def refuse_judge(adapter: Path) -> None:
    """Raises ApplianceError for a reward model's adapter: it gives numbers, and has nothing to say."""
    if files.read_json(adapter / "adapter_config.json").get("task_type") == "SEQ_CLS":
        raise ApplianceError(
            _("{name} is a reward model: it judges answers and gives none.").format(name=adapter),
            _("It can be neither merged into a model that talks nor served as one."),
            _("Load it with transformers and peft (AutoModelForSequenceClassification, one label) to judge answers."),
        )


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


def base_of(adapter: Path, named: str) -> Path:
    """The base that the adapter was trained on, where it still stands."""
    try:
        described = files.read_json(adapter / models.ADAPTER_MANIFEST).get("base") or {}
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
