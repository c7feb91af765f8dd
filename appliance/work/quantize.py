"""The quantize job: a model → the same one in 8 or 4 bits, which stands at its place whole, measured, or not at all.

In the environment `quantize`: llm-compressor writes compressed-tensors, bitsandbytes its own 4 bits. The result is
loaded again from the disk and measured on rows that it was not calibrated on. What has lost more than 5 % waits
hidden, finished, until a person says that it is all right.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import files
from appliance.data.images import Images
from appliance.errors import ApplianceError
from appliance.hardware import cpu
from appliance.hub import manifest
from appliance.jobs.prepare.quantize import ACCEPTED, MEASURED
from appliance.locale import _
from appliance.merging.journal import staging_folder
from appliance.planning.quantising import NAMES
from appliance.work import checkpoints, compress, loading, perplexity, seeing
from appliance.work.appear import appear, check_space, made_before
from appliance.work.carry import carry_over
from appliance.work.context import Context


def run(context: Context) -> dict[str, Any]:
    """Spec: model, to (folders), name, sees, most_lost, accept_loss, data. Plan: scheme, group, samples, length …"""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if not context.cards:  # cards belong to jobs that lock them
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    model, to = Path(context.spec["model"]), Path(context.spec["to"])
    before = made_before(to, context)
    if before is not None:
        return _result(context, to, before)
    staging = staging_folder(to, context.id)
    measured = _finished_before(staging)
    if measured is None:
        try:
            measured = _quantised(model, staging, context)
        except BaseException:
            # Nothing of it can be gone on with.
            shutil.rmtree(staging, ignore_errors=True)
            raise
    _accepted(measured, context)
    (staging / MEASURED).unlink(missing_ok=True)
    hashes = {name: entry["sha256"] for name, entry in measured["files"].items()}
    appear(staging, to, context, hashes, {name: value for name, value in measured.items() if name != "files"})
    return _result(context, to, measured)


def _finished_before(staging: Path) -> dict[str, Any] | None:
    """What an earlier attempt has finished and measured; None where it has not, or where files are not as they were."""
    try:
        measured: dict[str, Any] = files.read_json(staging / MEASURED)
        if all((staging / name).stat().st_size == entry["size"] for name, entry in measured["files"].items()):
            return measured
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _quantised(model: Path, staging: Path, context: Context) -> dict[str, Any]:
    """Quantise, write, load again and measure. Everything stands in the staging folder then, MEASURED last."""
    plan = context.plan
    _check_room(model, staging, context)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    context.progress("loading", 0, 1)
    tokenizer = loading.load_tokenizer(model)
    sees = bool(context.spec.get("sees"))
    seer = seeing.load(model, tokenizer, Images(context.folder / "pictures")) if sees else None
    held, samples, refused = perplexity.examples(tokenizer, context.folder, plan["length"], plan["samples"], seer)
    if refused and sees:
        context.note(
            _("Rows left out because the model can't read them, or a picture of theirs: {n}.").format(n=refused)
        )
    elif refused:
        context.note(_("Rows left out because the model's chat template can't write them: {n}.").format(n=refused))
    config = files.read_json(model / "config.json")
    original = compress.load(model, config, plan["measure_on"], sees)
    context.progress("loading", 1, 1)
    before = _measured(original, held, context, "measuring", seer)
    began = time.time()
    with checkpoints.full_disk_told(staging):
        if plan["scheme"] == "bnb4":
            del original
            _give_back()
            original = compress.load_in_4_bits(model, config, plan["measure_on"], sees, context)
        else:
            compress.compress(original, model, tokenizer, samples, context, seer)
        context.progress("saving", 0, 1)
        compress.save(original, model, staging, sees)
    seconds = time.time() - began
    del original
    _give_back()
    carry_over(model, staging, keep={path.name for path in staging.iterdir()})
    context.progress("saving", 1, 1)
    again = compress.load(staging, files.read_json(staging / "config.json"), plan["measure_on"], sees)
    after = _measured(again, held, context, "measuring_again", seer)
    del again
    _give_back()
    loss = after / before - 1
    measured = {
        "scheme": plan["scheme"],
        "name": NAMES[plan["scheme"]],
        "group": plan["group"],
        "samples": len(samples),
        "perplexity": {"before": round(before, 4), "after": round(after, 4), "loss": round(loss, 5), "rows": len(held)},
        "size": {"before": _weights(model), "after": _weights(staging)},
        "seconds_quantising": round(seconds, 1),
        "sentence": _sentence(before, after, len(held)),
        "files": _synced(staging),
    }
    files.write_json(staging / MEASURED, measured)
    context.metric(perplexity_before=round(before, 4), perplexity_after=round(after, 4))
    return measured


def _sentence(before: float, after: float, count: int) -> str:
    worse = 100 * (after / before - 1)
    values = {"before": f"{before:.3f}", "after": f"{after:.3f}", "rows": count, "share": f"{abs(worse):.1f} %"}
    if worse > 0:
        return _(
            "Perplexity on {rows} rows that it was not calibrated on: {before} before, {after} after ({share} worse)."
        ).format(**values)
    return _(
        "Perplexity on {rows} rows that it was not calibrated on: {before} before, {after} after ({share} better)."
    ).format(**values)


# --- before anything is written --------------------------------------------------------------------------------------


def _check_room(model: Path, staging: Path, context: Context) -> None:
    """Raises ApplianceError where the memory or the disk is too small, as things are now."""
    free = cpu.read(Path("/")).free_gib
    if free < context.plan["memory_gib"]:
        raise ApplianceError(
            _("The memory is not enough to quantise this model."),
            _("It takes about {needed:.1f} GiB; {free:.1f} are free.").format(
                needed=context.plan["memory_gib"], free=free
            ),
            _("Close other programs, then resume the job (appliance jobs resume ID)."),
        )
    staging.parent.mkdir(parents=True, exist_ok=True)
    check_space(int(context.plan["after_gib"] * 2**30), staging)


def _give_back() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured(
    model: Any, held: list[perplexity.Example], context: Context, phase: str, seer: seeing.Seer | None
) -> float:
    def told(count: int) -> None:
        context.check_stopped()
        context.progress(phase, count, len(held), "rows")

    context.progress(phase, 0, len(held), "rows")
    found = perplexity.measure(model, held, told, seer)
    if found == float("inf") and phase == "measuring":
        raise ApplianceError(
            _("The model's own answers come out as no numbers."),
            _("In the 16 bits that it is quantised from, its perplexity on your rows is not finite."),
            _("Verify it (appliance models verify NAME), or take another model."),
        )
    if found == float("inf"):
        raise ApplianceError(
            _("The quantised model's answers come out as no numbers."),
            _("The original's do not, so this scheme does not suit this model."),
            _("Try another scheme: --scheme fp8 works with most models."),
        )
    return found


# --- afterwards ------------------------------------------------------------------------------------------------------


def _accepted(measured: dict[str, Any], context: Context) -> None:
    """Tell what was lost. Raises ApplianceError where it is too much and nobody has said that it is all right."""
    if measured["perplexity"]["loss"] <= context.spec["most_lost"]:
        context.note(measured["sentence"])
        return
    if not context.spec.get("accept_loss") and not (context.folder / ACCEPTED).is_file():
        raise ApplianceError(
            _("The quantised model has lost too much to be called good."),
            measured["sentence"],
            _(
                "Keep it all the same: appliance jobs resume {id} --accept-loss   Or quantise with a finer --scheme "
                "(fp8, int8), or with more rows; appliance jobs remove {id} takes it away."
            ).format(id=context.id),
        )
    context.warn(measured["sentence"] + " " + _("You accepted that."))


def _synced(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file on the disk, with its size and sha256."""
    found = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)  # safetensors writes 0600
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        found[path.name] = {"size": path.stat().st_size, "sha256": files.sha256(path)}
    files.sync_folder(folder)
    return found


def _weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _result(context: Context, to: Path, measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": str(to),
        "name": context.spec["name"],
        "original": context.spec["model"],
        **{key: measured.get(key) for key in ("scheme", "group", "samples", "perplexity", "size", "sentence")},
        "accepted": (context.folder / ACCEPTED).is_file() or bool(context.spec.get("accept_loss")),
        "files": (manifest.read(to) or {}).get("files"),
        "quantised": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
