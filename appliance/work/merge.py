"""The merge job: base + adapter → a model of its own that stands at its place whole, or not at all.

Streamed by `appliance.merging` in the front's own environment: no torch, no GPU, little memory. An adapter that holds
something which is not streamed goes through peft, in the training environment.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

# Before numpy is imported: the other core is busy with sha256.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from appliance import files
from appliance.errors import ApplianceError
from appliance.hardware import cpu
from appliance.hub import manifest
from appliance.hub import model as models
from appliance.locale import _
from appliance.merging import base as bases
from appliance.merging import journal, plan, stream, whole_model
from appliance.merging.adapter import NotStreamed
from appliance.work import same_answers
from appliance.work.appear import NoRoom, appear, check_space, made_before
from appliance.work.carry import carry_over
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """Spec: adapters [{folder, weight}], base (folder), to (folder), name, proof (False: leave it out)."""
    spec = context.spec
    adapters = [(Path(one["folder"]), float(one["weight"])) for one in spec["adapters"]]
    base, to = Path(spec["base"]), Path(spec["to"])
    before = made_before(to, context)
    if before is not None:
        return _result(context, to, before)
    weight_files = list(models.inspect(base).weight_files)
    config = files.read_json(base / "config.json")
    for folder, _weight in adapters:
        bases.check(base, folder)
        bases.verify_adapter(folder)
    _verify(base, weight_files, context)
    staging = journal.staging_folder(to, context.id)
    try:
        try:
            made = _streamed(base, weight_files, adapters, config, staging, context)
        except NotStreamed as reason:
            made = _through_peft(base, adapters, config, staging, context, str(reason))
        carry_over(base, staging, keep={path.name for path in staging.iterdir()})
        carry_over(adapters[0][0], staging, keep={"config.json", "README.md"})
        if len(adapters) == 1 and adapters[0][1] == 1.0 and (adapters[0][0] / same_answers.FILE).is_file():
            # What this very model answered at the end of its training; for any other it would be wrong.
            shutil.copyfile(adapters[0][0] / same_answers.FILE, staging / same_answers.FILE)
        made["proof"] = _prove(base, adapters, staging, context)
        (staging / journal.NAME).unlink(missing_ok=True)
        kept: dict[str, Any] = {
            name: made[name] for name in ("way", "reason", "changed_tensors", "proof") if name in made
        }
        appear(staging, to, context, made["sha256"], kept)
    except NoRoom:
        raise  # what is finished is kept: with more room it goes on from there
    except ApplianceError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return _result(context, to, made)


def _streamed(
    base: Path,
    weight_files: list[str],
    adapters: list[tuple[Path, float]],
    config: dict[str, Any],
    staging: Path,
    context: Context,
) -> dict[str, Any]:
    """Every weight file again, the finished ones of an earlier attempt kept. Raises NotStreamed before it writes."""
    planned = plan.make(base, weight_files, adapters, config)
    staging.mkdir(parents=True, exist_ok=True)
    kept = journal.Journal(staging, plan.identity(base, weight_files, adapters))
    for path in staging.iterdir():  # what a killed attempt had begun
        if path.name not in kept.finished and path.name != journal.NAME:
            path.unlink()
    todo = [one for one in planned.outputs if one.name not in kept.finished]
    total, left = sum(one.size for one in planned.outputs), sum(one.size for one in todo)
    check_space(left, staging)
    if kept.finished:
        context.note(
            _("{done} of {all} weight files were finished before; it goes on with the rest.").format(
                done=len(kept.finished), all=len(planned.outputs)
            )
        )
    done = total - left

    def moved(count: int) -> None:
        nonlocal done
        done += count
        context.progress("merging", done, total, "B")

    stream.write(todo, staging, finished=kept.add, moved=moved, check_stopped=context.check_stopped)
    context.progress("merging", total, total, "B")
    for name, text in planned.texts.items():
        files.write_text(staging / name, text)
    return {"way": "streamed", "sha256": dict(kept.finished), "changed_tensors": planned.changed}


def _through_peft(
    base: Path,
    adapters: list[tuple[Path, float]],
    config: dict[str, Any],
    staging: Path,
    context: Context,
    reason: str,
) -> dict[str, Any]:
    from appliance.work import merge_peft

    whole_model.check_memory(base)
    if os.environ.get("APPLIANCE_ENVIRONMENT") != "train":
        context.note(
            _(
                "This adapter is not streamed but merged by peft, which needs the whole model in memory ({reason})."
            ).format(reason=reason)
        )
        context.continue_in("train")
    shutil.rmtree(staging, ignore_errors=True)  # peft writes everything at once; nothing can be gone on with
    staging.mkdir(parents=True)
    check_space(files.folder_size(base), staging)
    merge_peft.merge(base, adapters, config, staging, context)
    return {"way": "peft", "reason": reason, "sha256": {}}


def _verify(base: Path, weight_files: list[str], context: Context) -> None:
    """A flipped byte is found before anything is written. Files that nobody touched need not be read for it."""
    expected = bases.unverified(base, weight_files)
    total = sum((base / name).stat().st_size for name in expected)
    done = 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        context.progress("checking", done, total, "B")

    if expected:
        context.progress("checking", 0, total, "B")
        bases.verify(base, expected, moved, context.check_stopped, threads=max(1, cpu.read(Path("/")).cores))


def _prove(base: Path, adapters: list[tuple[Path, float]], staging: Path, context: Context) -> dict[str, Any]:
    if context.spec.get("proof") is False:
        return {"done": False, "why": _("It was not asked for.")}
    from appliance.work import proof

    shown = proof.prove(base, adapters, staging, context)
    if not shown["done"]:
        context.note(_("The merged model was not compared with base + adapter: {why}").format(why=shown["why"]))
    elif shown["same"] < proof.GOOD:
        context.warn(shown["sentence"] + " " + _("Look at its answers before you use it."))
    else:
        context.note(shown["sentence"])
    return shown


def _result(context: Context, to: Path, made: dict[str, Any]) -> dict[str, Any]:
    adapters = context.spec["adapters"]
    return {
        "model": str(to),
        "name": context.spec["name"],
        "adapter": adapters[0]["folder"],
        "adapters": adapters,
        "base": context.spec["base"],
        "way": made.get("way"),
        "reason": made.get("reason"),
        "changed_tensors": made.get("changed_tensors"),
        "proof": made.get("proof"),
        "files": (manifest.read(to) or {}).get("files"),
        "merged": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
