"""Fine-tune: rows and a base model in, an adapter out. Runs in the training environment.

The plan has decided everything; this file carries it out, saves so that nothing is lost, and says how it goes.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance import files, rewards
from appliance.data.images import Images
from appliance.hub import model as models
from appliance.locale import _
from appliance.planning.way import WHOLE
from appliance.work import (
    before_after,
    checkpoints,
    experience,
    loading,
    out_of_memory,
    preferences,
    prompts,
    ranks,
    report,
    rows,
    same_answers,
    seeing,
    trackers,
    trainers,
    watching,
    whole,
    zero,
)
from appliance.work.context import Context
from appliance.work.verdict import verdict
from appliance.work.versions import library_versions


def run(context: Context) -> dict[str, Any]:
    """Train and write `adapter/` into the job folder, or a model of its own where all weights learn.

    Spec: model (folder), to (where such a model goes), task, earlier (an adapter to go on from), data, seed, dropout;
    plan: the choices.
    """
    if (made := whole.made_before(context)) is not None:
        return made
    manifest = context.folder / "adapter" / models.ADAPTER_MANIFEST
    if manifest.exists():  # finished, but killed before it could say so
        return dict(files.read_json(manifest)["result"])
    out_of_memory.apply(context)
    processes = context.plan.get("gpus", 1)
    try:
        return ranks.run(context, processes) if processes > 1 else train(context)
    except out_of_memory.Full as full:
        out_of_memory.start_smaller(context, full)


def train(context: Context) -> dict[str, Any]:
    """The training itself, in the only process or in each of several (`rank`); the first one writes the adapter.

    Raises out_of_memory.Full.
    """
    out_of_memory.apply(context)
    spec, plan = context.spec, context.plan
    adapter = context.folder / "adapter"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    context.progress("loading", 0, 3)
    trackers.reachable(spec.get("track") or [])
    zero.reachable(plan)
    import torch
    import transformers

    transformers.set_seed(spec.get("seed", trainers.SEED))
    base = Path(spec["model"])
    task = spec.get("task") or "sft"
    earlier = Path(spec["earlier"]) if spec.get("earlier") else None
    tokenizer = loading.load_tokenizer(base)
    if tokenizer.eos_token_id is None and task != "reward":
        context.warn(
            _(
                "Neither the model nor its tokenizer names the sign that ends an answer (eos_token): its answers will"
                " run on. Write it into generation_config.json and tokenizer_config.json of the model."
            )
        )
    context.progress("loading", 1, 3)
    seer = seeing.load(base, tokenizer, Images(context.folder / "pictures")) if spec.get("sees") else None
    encoded = _encoded(tokenizer, task, context, seer)
    _tell_about(encoded, context)
    shares = zero.before_loading(plan)
    model = loading.load_model(base, plan, task, earlier, sees=seer is not None)
    if plan.get("liger") and (why := loading.use_liger(model)):
        context.note(_("Without Liger's kernels: {why}.").format(why=why))
    context.progress("loading", 2, 3)
    with out_of_memory.told():
        if int(os.environ.get("RANK", 0)) == 0:
            before_after.before(context, model, tokenizer, task, seer)
        trainer = trainers.make(model, tokenizer, encoded, context, continues=earlier is not None, seer=seer)
    del shares
    context.progress("loading", 3, 3)

    began = time.time()
    _train(trainer, context)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    # A thumb of the rarer kind counts more, so that KTO's loss of a few rows says more about which they are.
    rows_a_step = plan["micro_batch"] * plan["accumulation"] * plan.get("gpus", 1)
    a_pass = math.ceil(len(encoded.examples) / rows_a_step) if task == "kto" else 1
    part = max(1, min(len(losses) // 2, a_pass))
    all_weights = plan["method"] in WHOLE
    result = {
        **({"made": spec["to"]} if all_weights else {"adapter": str(adapter)}),
        "model": str(base),
        "task": task,
        "steps": trainer.state.global_step,
        "steps_meant": trainer.args.max_steps,
        "loss_first": sum(losses[:part]) / part if losses else None,
        "loss_last": sum(losses[-part:]) / part if losses else None,
        "rows": len(encoded.examples),
        "reward": _rewards(trainer.state.log_history),
        "held_out": _held_out(encoded, trainer.state.log_history),
        "rows_cut": encoded.cut,
        "rows_left_out": encoded.left_out,
        "learned_tokens": encoded.learned_tokens,
        "train_seconds": round(time.time() - began, 2),
        "train_loss": sum(losses) / len(losses) if losses else None,
        "memory": {
            "predicted_gib": (plan.get("memory") or {}).get("total_gib"),
            "measured_gib": _peak_memory_gib(torch, plan.get("device", "cpu")),
            "largest_batch": trainer.largest,
        },
    }
    context.progress("saving", 0, 1)
    if all_weights:
        whole.round_off(trainer.model, base)
    if not trainer.first:
        # A sharded model is asked for its weights by all at once, though only the adapter is written, by the first.
        with zero.whole(trainer.model, plan):
            if plan.get("sharding") == "fsdp":
                trainer.model.save_pretrained(adapter, is_main_process=False)
        return result
    result["answers"], result["stops"] = before_after.after(context, trainer.model, tokenizer, seer)
    result["good"], result["verdict"] = verdict(result)
    context.note(result["verdict"])
    described = {**context.job.described, "plan": plan}
    result["versions"] = library_versions()
    result["report"] = str(report.write(context.folder, described, result))
    experience.remember(base, plan, task, trainer.largest, result["memory"]["measured_gib"])
    if all_weights:
        whole.save(trainer.model, tokenizer, base, context, result)
    else:
        _save(trainer, tokenizer, base, adapter, context, result)
    if not spec.get("keep_checkpoints"):  # the adapter is whole; they have done their work
        shutil.rmtree(context.folder / "checkpoints", ignore_errors=True)
    context.progress("saving", 1, 1)
    return result


def _encoded(tokenizer: Any, task: str, context: Context, seer: seeing.Seer | None) -> rows.Encoded:
    found = rows.read_rows(context.folder / "rows.jsonl")
    length = context.plan["length"]
    kept_back = context.folder / "held_out.json"
    numbers = frozenset(files.read_json(kept_back)) if kept_back.exists() else frozenset()
    if task in rewards.TASKS:
        return prompts.encode_all(tokenizer, found, length, numbers)
    if task in ("sft", "pretrain"):
        return rows.encode_all(tokenizer, _told(found, context) if seer else found, length, numbers, seer)
    return preferences.encode_all(tokenizer, found, length, task, context.spec.get("seed", trainers.SEED), numbers)


def _told(found: Iterator[dict[str, Any]], context: Context) -> Iterator[dict[str, Any]]:
    """The rows, one after the other with how far it is: to open thousands of pictures takes minutes."""
    with (context.folder / "rows.jsonl").open("rb") as lines:
        count = sum(1 for _line in lines)
    for number, row in enumerate(found):
        context.check_stopped()
        context.progress("pictures", number, count)
        yield row
    context.progress("pictures", count, count)


def _rewards(history: list[dict[str, Any]]) -> dict[str, float] | None:
    """The mean reward of the first and of the last tenth of the steps; None where nothing was tried."""
    found = [entry["reward"] for entry in history if "reward" in entry]
    part = max(1, len(found) // 10)
    return {"first": sum(found[:part]) / part, "last": sum(found[-part:]) / part} if found else None


def _held_out(encoded: rows.Encoded, history: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The loss on rows that were not learned from: before, at its best, at the end; None without such rows."""
    measured = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    best = checkpoints.best_of(history)
    if not encoded.held_out or best is None:
        return None
    return {
        "rows": len(encoded.held_out),
        "first": measured[0],
        "best": best[1],
        "best_step": best[0],
        "last": measured[-1],
    }


def _train(trainer: Any, context: Context) -> None:
    """From the last whole checkpoint to the end; with smaller batches once the memory was not enough."""
    from transformers import TrainerState

    start = checkpoints.latest_whole(context.folder / "checkpoints")
    if start:
        context.note(_("Goes on from the checkpoint at step {step}.").format(step=start[0]))
    elif context.attempt > 1:
        context.note(_("There is no whole checkpoint yet: starts from the beginning."))
    state = TrainerState.load_from_json(str(start[1] / "trainer_state.json")) if start else None
    if start and state and (start[0] >= trainer.args.max_steps or watching.learned_by_heart(state.log_history)):
        # All was done, only the adapter was not saved. Asked to go on, transformers would do one step more.
        with zero.whole(trainer.model, context.plan, change=True):
            trainer._load_from_checkpoint(str(start[1]))
        trainer.state = state
        _go_back_to_the_best(trainer, context)
        return
    # Once, before anything is learned: what there is to compare with.
    trainer.args.eval_on_start = start is None and trainer.eval_dataset is not None
    try:
        with context.saves_itself():
            trainer.train(resume_from_checkpoint=str(start[1]) if start else None)
    except Exception as error:
        if not out_of_memory.is_out_of_memory(error):
            raise
        raise out_of_memory.Full(trainer.state.global_step, str(error)) from error
    _go_back_to_the_best(trainer, context)


def _go_back_to_the_best(trainer: Any, context: Context) -> None:
    """A model that went on to learn its rows by heart does worse on others: the state before that is the better one."""
    best = checkpoints.best_of(trainer.state.log_history)
    if best is None or best[0] == trainer.state.global_step:
        return
    folder = trainer.checkpoint_root / f"checkpoint-{best[0]}"
    if checkpoints.is_whole(folder):
        with zero.whole(trainer.model, context.plan, change=True):
            trainer._load_from_checkpoint(str(folder))
        context.note(
            _("On rows that it was not taught it was best at step {step}: that state is kept.").format(step=best[0])
        )


def _tell_about(encoded: rows.Encoded, context: Context) -> None:
    if encoded.cut:
        context.warn(
            _("{n} of {all} rows are longer than {length} tokens and were cut (the longest has {longest}).").format(
                n=encoded.cut, all=len(encoded.examples), length=context.plan["length"], longest=encoded.longest
            )
        )
    if encoded.refused:
        context.warn(
            _("Rows left out because the model's chat template can't write them: {n}.").format(n=encoded.refused)
        )
    if encoded.wordless:
        context.warn(_("Rows left out because their answer is a tool call, not words: {n}.").format(n=encoded.wordless))
    if encoded.damaged:
        context.warn(_("Rows left out because a picture of theirs can't be read: {n}.").format(n=encoded.damaged))
    if encoded.left_out:
        context.warn(
            _("Rows left out because their question alone is longer than the length: {n}.").format(n=encoded.left_out)
        )


def _peak_memory_gib(torch: Any, device: str) -> float | None:
    """The peak on the accelerator as its allocator reserved it (GiB); on a CPU the process's resident memory."""
    if device == "cuda":
        return round(float(torch.cuda.max_memory_reserved()) / 2**30, 3)
    if device == "mps":
        return round(float(torch.mps.driver_allocated_memory()) / 2**30, 3)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)


def _save(trainer: Any, tokenizer: Any, base: Path, adapter: Path, context: Context, result: dict[str, Any]) -> None:
    """The adapter and everything that serving needs to answer as training did; renamed when whole."""
    staging = adapter.with_name(".adapter.staging")
    shutil.rmtree(staging, ignore_errors=True)
    beginning = context.folder / trainers.BEGINNING
    with checkpoints.full_disk_told(adapter), zero.whole(trainer.model, context.plan):
        # Trained further, an adapter stands beside a frozen copy of what it was.
        trainer.model.save_pretrained(
            staging,
            safe_serialization=True,
            selected_adapters=["default"],
            path_initial_model_for_weight_conversion=str(beginning) if beginning.exists() else None,
        )
        shutil.rmtree(beginning, ignore_errors=True)
    tokenizer.save_pretrained(staging)
    if context.spec.get("sees"):
        seeing.keep(base, staging)
    if context.plan.get("sharding") not in ("fsdp", "zero3"):  # there a model answers only when all processes ask it
        same_answers.keep(trainer.model, tokenizer, staging, context.folder / "rows.jsonl", context.plan["dtype"])
    if (base / "generation_config.json").exists():
        shutil.copyfile(base / "generation_config.json", staging / "generation_config.json")
    result["files"] = {
        path.name: {"size": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(staging.iterdir())
        if path.is_file()
    }
    manifest = {
        "base": {"folder": str(base), **loading.origin(base, context.spec.get("base", {}))},
        "task": context.spec.get("task") or "sft",
        "data": context.spec.get("data"),
        "dtype": context.plan["dtype"],
        "job": context.id,
        "result": result,
    }
    checkpoints.write_manifest(staging)
    files.write_json(staging / models.ADAPTER_MANIFEST, manifest)
    shutil.rmtree(adapter, ignore_errors=True)
    os.rename(staging, adapter)
    files.sync_folder(adapter.parent)
