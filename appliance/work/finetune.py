"""Fine-tune: rows and a base model in, an adapter out. Runs in the training environment.

The plan has decided everything; this file carries it out, saves so that nothing is lost, and says how it goes.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work import checkpoints, experience, rows, same_answers
from appliance.work.context import Context

ADAPTER_MANIFEST = "appliance-adapter.json"
_SEED = 42


def run(context: Context) -> dict[str, Any]:
    """Train and write `adapter/` into the job folder. Spec: model (folder), data, seed, dropout; plan: the choices."""
    spec, plan = context.spec, context.plan
    adapter = context.folder / "adapter"
    if (adapter / ADAPTER_MANIFEST).exists():  # finished, but killed before it could say so
        return dict(files.read_json(adapter / ADAPTER_MANIFEST)["result"])
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    context.progress("loading", 0, 3)
    import torch
    import transformers

    transformers.set_seed(spec.get("seed", _SEED))
    base = Path(spec["model"])
    tokenizer = _load_tokenizer(base)
    context.progress("loading", 1, 3)
    encoded = rows.encode_all(tokenizer, rows.read_rows(context.folder / "rows.jsonl"), plan["length"])
    _tell_about(encoded, context)
    model = _load_model(base, plan, spec)
    context.progress("loading", 2, 3)
    trainer = _trainer(model, tokenizer, encoded, context)
    context.progress("loading", 3, 3)

    root = context.folder / "checkpoints"
    start = checkpoints.latest_whole(root)
    if start:
        context.note(_("Goes on from the checkpoint at step {step}.").format(step=start[0]))
    elif context.attempt > 1:
        context.note(_("There is no whole checkpoint yet: starts from the beginning."))
    began = time.time()
    with context.saves_itself():
        if start and start[0] >= trainer.args.max_steps:
            # All steps were done, only the adapter was not saved. Asked to go on, transformers would do one step more.
            trainer._load_from_checkpoint(str(start[1]))
            trainer.state = transformers.TrainerState.load_from_json(str(start[1] / "trainer_state.json"))
        else:
            trainer.train(resume_from_checkpoint=str(start[1]) if start else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    result = {
        "adapter": str(adapter),
        "model": str(base),
        "steps": trainer.state.global_step,
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        "rows": len(encoded.examples),
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
    experience.remember(base, plan, trainer.largest, result["memory"]["measured_gib"])
    context.progress("saving", 0, 1)
    _save(trainer, tokenizer, base, adapter, context, result)
    # The adapter is whole; the checkpoints have done their work.
    shutil.rmtree(root, ignore_errors=True)
    context.progress("saving", 1, 1)
    return result


def _load_tokenizer(base: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ApplianceError(
            _("The tokenizer in {folder} can't be loaded.").format(folder=base),
            str(error).strip().split("\n")[0],
            _("Download the model again, or choose another one."),
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_model(base: Path, plan: dict[str, Any], spec: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, plan["dtype"])
    options: dict[str, Any] = {}
    if plan["method"] == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    if plan.get("device") == "cuda":
        options["device_map"] = {"": 0}  # the only card that this process sees
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ApplianceError(
            _("The model in {folder} can't be loaded.").format(folder=base),
            str(error).strip().split("\n")[0],
            _("Download the model again, or choose another one."),
        ) from error
    model.config.use_cache = False
    return model


def _tell_about(encoded: rows.Encoded, context: Context) -> None:
    if encoded.cut:
        context.warn(
            _("{n} of {all} rows are longer than {length} tokens and were cut (the longest has {longest}).").format(
                n=encoded.cut, all=len(encoded.examples), length=context.plan["length"], longest=encoded.longest
            )
        )
    if encoded.left_out:
        context.warn(
            _("{n} rows were left out: their question alone is longer than the length.").format(n=encoded.left_out)
        )


def _trainer(model: Any, tokenizer: Any, encoded: rows.Encoded, context: Context) -> Any:
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    plan, spec = context.plan, context.spec

    class Trainer(checkpoints.StagedCheckpoints, SFTTrainer):  # type: ignore[misc]
        largest = (0, 0)  # rows and tokens a row of the largest batch that went through the model

        def training_step(self, model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
            self.largest = max(self.largest, tuple(inputs["input_ids"].shape), key=math.prod)
            return super().training_step(model, inputs, *more, **options)

    on_cpu = plan.get("device") == "cpu"
    batch = plan["micro_batch"] * plan["accumulation"]
    steps = plan.get("steps") or max(1, round(plan["epochs"] * len(encoded.examples) / batch))
    arguments = SFTConfig(
        output_dir=str(context.folder / "trainer"),
        per_device_train_batch_size=plan["micro_batch"],
        gradient_accumulation_steps=plan["accumulation"],
        max_steps=steps,
        learning_rate=plan["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=min(10, steps // 10),
        optim=plan.get("optimizer") or "adamw_torch",
        bf16=plan["dtype"] == "bfloat16",
        fp16=plan["dtype"] == "float16",
        use_cpu=on_cpu,
        gradient_checkpointing=bool(plan.get("checkpointing")),
        gradient_checkpointing_kwargs={"use_reentrant": False} if plan.get("checkpointing") else None,
        max_length=plan["length"],
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=spec.get("save_steps") or max(1, min(100, steps // 5)),
        report_to="none",
        disable_tqdm=True,
        seed=spec.get("seed", _SEED),
        data_seed=spec.get("seed", _SEED),
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        dataloader_num_workers=0,
    )
    targets = plan.get("targets") or "all-linear"
    adapter = LoraConfig(
        r=plan["rank"],
        lora_alpha=plan["alpha"],
        lora_dropout=spec.get("dropout", 0.0),
        target_modules=targets,
        use_dora=plan["method"] == "dora",
        bias="none",
        task_type="CAUSAL_LM",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(encoded.examples),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[_reporter(context, steps)],
    )
    # A Trainer prints its metrics by itself; here they are events.
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    if plan["dtype"] == "float16":
        # TRL casts the adapters of 4-bit models to bfloat16; the gradient scaler of float16 needs them in float32.
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    trainer.checkpoint_root = context.folder / "checkpoints"
    trainer.checkpoint_root.mkdir(exist_ok=True)
    return trainer


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _reporter(context: Context, steps: int) -> Any:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):  # type: ignore[misc]
        """Steps as events; a request to stop as a checkpoint and a clean end."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            context.progress("training", state.global_step, steps, "step")

        def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            context.progress("training", state.global_step, steps, "step")
            if context.stopping.is_set():
                control.should_save = True
                control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_k: Any) -> None:
            names = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
            values = {ours: logs[theirs] for theirs, ours in names.items() if logs and theirs in logs}
            if values:
                context.metric(step=state.global_step, **{name: _finite(value) for name, value in values.items()})
            if _finite(values.get("loss", 0.0)) is None:
                raise ApplianceError(
                    _("The training diverged at step {step}: the loss is no number any more.").format(
                        step=state.global_step
                    ),
                    _("The learning rate {rate:g} is too high for this model or data.").format(
                        rate=context.plan["learning_rate"]
                    ),
                    _("Fine-tune again with a lower --learning-rate, a tenth of it for example."),
                )

    return Reporter()


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
    with checkpoints.full_disk_told(adapter):
        trainer.model.save_pretrained(staging, safe_serialization=True)
    tokenizer.save_pretrained(staging)
    same_answers.keep(trainer.model, tokenizer, staging, context.folder / "rows.jsonl", context.plan["dtype"])
    if (base / "generation_config.json").exists():
        shutil.copyfile(base / "generation_config.json", staging / "generation_config.json")
    result["files"] = {
        path.name: {"size": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(staging.iterdir())
        if path.is_file()
    }
    manifest = {
        "base": {"folder": str(base), **context.spec.get("base", {})},
        "data": context.spec.get("data"),
        "dtype": context.plan["dtype"],
        "job": context.id,
        "result": result,
    }
    checkpoints.write_manifest(staging)
    files.write_json(staging / ADAPTER_MANIFEST, manifest)
    shutil.rmtree(adapter, ignore_errors=True)
    os.rename(staging, adapter)
    files.sync_folder(adapter.parent)
