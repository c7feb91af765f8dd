"""The guided way: my data → my model → an address. What it builds is a recipe, and it runs as one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import attend, files, output, questions, settings
from appliance.hub import workspace
from appliance.jobs import prepare, recipe
from appliance.jobs.folder import Job, State
from appliance.locale import _
from appliance.menu import pick, rows
from appliance.show import job as show_job


def show(hardware: Any) -> None:
    """Two questions, one screen, then everything by itself."""
    file = str(Path(pick.data_file()).expanduser().absolute())
    words = rows.look_at(file)
    model = pick.model(_("Which model should learn from it?"), hardware)
    steps = _steps(model, file, words)
    if steps is None:
        return
    saved = _save(steps)
    output.say()
    output.say(_("The same without the menu:"), "dim")
    output.paste("  " + prepare.command("run", saved))
    if not questions.yes(_("Start?")):
        return
    jobs = recipe.run(steps, lambda job, number, last: _watch(job, number, len(steps)))
    questions.forget_keys()
    if jobs[-1].kind == "serve" and jobs[-1].state().active:
        attend.show_address(jobs[-1])


def _steps(model: str, file: str, words: dict[str, Any]) -> list[recipe.Step] | None:
    """The recipe, after a look at the plan. A model that must come first is planned when it is here."""
    tuning: dict[str, Any] = {"data": file, **words}
    how = {("mapping" if word == "map" else word): value for word, value in words.items()}
    try:
        folder = prepare.model_folder(model)
    except prepare.NotHere:
        output.pairs(prepare.download(model).facts)
        output.note(_("The plan for the fine-tune is made when the model is here."))
        return [("download", {"model": model}), ("finetune", tuning), ("merge", {}), _serving()]
    try:
        draft = prepare.finetune(str(folder), file, **how)
    except prepare.TooManyDropped as problem:
        output.error(problem)
        if not questions.yes(_("Go on without those rows?"), default=False):
            return None
        tuning["accept_drops"] = True
        draft = prepare.finetune(str(folder), file, accept_drops=True, **how)
    output.pairs(draft.facts)
    for warning in draft.warnings:
        output.warn(str(warning))
    output.say(_("Then it is merged, and served on this machine with a key."))
    return [("finetune", {"model": str(folder), **tuning}), ("merge", {}), _serving()]


def _serving() -> recipe.Step:
    """With a page in the browser, for who has never opened a terminal."""
    return "serve", {"page": True} if prepare.has_page() else {}


def _save(steps: list[recipe.Step]) -> Path:
    """The recipe as a file that a person can read, change and run again."""
    name = workspace.folder_name(Path(str(steps[-3][1]["data"])).stem)
    target = settings.home() / "recipes" / f"{datetime.now():%Y%m%d-%H%M%S}-{name}.yaml"
    import yaml

    text = yaml.safe_dump({"jobs": [{kind: words} for kind, words in steps]}, allow_unicode=True, sort_keys=False)
    files.write_text(target, text)
    return target


def _watch(job: Job, number: int, total: int) -> State:
    output.say(_("Step {n} of {all}: {id}").format(n=number, all=total, id=job.id), "bold")
    state = attend.attend(job, until_ready=job.kind == "serve")
    if state is None:  # the person left; the steps after this one are not started
        raise KeyboardInterrupt
    if state.state == "done":
        show_job(job)
    return state
