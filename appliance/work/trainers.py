"""One TRL trainer a task. All of them take rows that are token ids already (`rows`, `preferences`), so that every task
learns exactly what the report and the preview show.
"""

from __future__ import annotations

import math
import os
from typing import Any

from appliance.locale import _
from appliance.planning.way import WHOLE
from appliance.rewards import TASKS as BY_TRIAL
from appliance.work import checkpoints, order, prompts, seeing, watching, zero
from appliance.work.context import Context
from appliance.work.rows import Encoded

SEED = 42
# LoRA+: B learns so many times faster than A. Its paper's value.
_LORA_PLUS = 16.0
_LOOKING = 0.05
_OPENERS = 2  # processes
BEGINNING = "pissa-beginning"

# What a task needs besides the plan's choices; the values are those of the methods' own papers.
_OPTIONS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1},
    # Its rows were shuffled before, and each holds its neighbour's answer.
    "kto": {"beta": 0.1, "train_sampling_strategy": "sequential"},
    "orpo": {"beta": 0.1},
    # SimPO's paper: beta 2 to 2.5, gamma/beta 0.3 to 0.5; without the part of the loss that CPO adds.
    "simpo": {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
    "reward": {},
}
# Answers that are tried for one question; which are better than the others is all that is learned from.
GENERATIONS = 8


def of(task: str, micro_batch: int) -> tuple[type, type, dict[str, Any]]:
    """(trainer, its settings' class, its own settings) for a task of prepare.TASKS."""
    if task in ("sft", "pretrain"):
        from trl import SFTConfig, SFTTrainer

        return _largest_seen(SFTTrainer), SFTConfig, {"dataset_kwargs": {"skip_prepare_dataset": True}}
    if task == "dpo":
        from trl import DPOConfig, DPOTrainer

        pair: tuple[type, type] = (DPOTrainer, DPOConfig)
    elif task == "kto":
        from trl import KTOConfig, KTOTrainer

        pair = (KTOTrainer, KTOConfig)
    elif task == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        pair = (ORPOTrainer, ORPOConfig)
    elif task == "simpo":
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        pair = (CPOTrainer, CPOConfig)
    elif task == "reward":
        from trl import RewardConfig, RewardTrainer

        pair = (RewardTrainer, RewardConfig)
    elif task == "grpo":
        from trl import GRPOConfig, GRPOTrainer

        return _largest_seen(GRPOTrainer), GRPOConfig, {}
    elif task == "rloo":
        from trl import RLOOConfig, RLOOTrainer

        return _largest_seen(RLOOTrainer), RLOOConfig, {}
    else:
        raise KeyError(task)
    own = dict(_OPTIONS[task])
    if task == "kto" and micro_batch == 1:
        # KTO holds each answer against another row's prompt in the same batch; alone there is none. The anchored loss
        # does without.
        own["loss_type"] = "apo_zero_unpaired"
    return _largest_seen(_encoded_already(pair[0])), pair[1], own


def make(
    model: Any, tokenizer: Any, encoded: Encoded, context: Context, *, continues: bool, seer: seeing.Seer | None = None
) -> Any:
    """The trainer for this job's task.

    continues  the model comes with an adapter to train further
    seer       of a model that sees: makes the batches
    """
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import PrinterCallback

    from appliance.work import attention

    disable_progress_bar()
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(context.folder / "tensorboard")
    plan, spec = context.plan, context.spec
    task = spec.get("task") or "sft"
    kind, settings, own = of(task, plan["micro_batch"])
    tried: dict[str, Any] = {}
    examples = encoded.examples
    if task in BY_TRIAL:
        tried = {"reward_funcs": prompts.judges(spec["rewards"])}
        together = plan["micro_batch"] * plan["accumulation"] * plan.get("gpus", 1)
        answers = next((n for n in range(GENERATIONS, 1, -1) if together % n == 0), together)
        own |= {"num_generations": answers, "max_completion_length": plan["length"] // 2}
        # TRL leaves out a step that has not all its questions: of too few rows it would take none at all.
        examples = examples * math.ceil(together / answers / len(examples))
    if seer:
        tried["data_collator"] = seer.batch
        # Pictures are opened and cut up while the card is at work.
        own["dataloader_num_workers"] = _OPENERS if plan.get("device") == "cuda" else 0
    if task == "kto":
        own |= balanced([example["label"] for example in encoded.examples])
    plain = task in ("sft", "pretrain") and seer is None
    end_to_end = plain and bool(plan.get("padding_free")) and _end_to_end(model, context)
    learned = _learned(examples, context, end_to_end=end_to_end)
    batch = plan["micro_batch"] * plan["accumulation"] * plan.get("gpus", 1)
    # The rows that are left to learn from; a question that is tried several times counts as often. A pass ends with a
    # step of its own, however few rows are left for it.
    a_pass = len(learned) * own["num_generations"] / batch if task in BY_TRIAL else math.ceil(len(learned) / batch)
    steps = spec.get("steps") or max(1, math.ceil(plan["epochs"] * a_pass))
    look = _look(steps, batch, len(encoded.held_out))
    every = spec.get("save_steps") or min(100, look)
    if encoded.held_out:
        # Where it is measured it is saved: the best state is one that can be gone back to.
        own |= {
            "eval_strategy": "steps",
            "eval_steps": every * max(1, round(look / every)),
            "prediction_loss_only": True,
        }
        if spec.get("save_steps"):
            own["eval_steps"] = every

    adapter = None if continues or plan["method"] in WHOLE else _adapter(plan, spec, task, model if seer else None)
    if plan["method"] == "qlora" and task in ("orpo", "simpo") and adapter is not None:
        # Left to put the adapter on, these two would turn all that is not in 4 bits into float32.
        from peft import get_peft_model

        model, adapter = get_peft_model(model, adapter), None
        model.enable_input_require_grads()

    class Trainer(checkpoints.StagedCheckpoints, kind):  # type: ignore[misc, valid-type]
        def together(self) -> None:
            self.accelerator.wait_for_everyone()

        def _get_train_sampler(self, *words: Any) -> Any:
            if task not in ("sft", "pretrain"):
                return super()._get_train_sampler(*words)
            lengths = [len(ids) for ids in learned["input_ids"]]
            self.row_order = order.ByChance(lengths, batch, spec.get("seed", SEED), padded=not end_to_end)
            return self.row_order

        def _run_epoch(self, *words: Any, **options: Any) -> Any:
            # accelerate does not reach a sampler inside of two others: of several processes, in a resumed pass.
            if hasattr(self, "row_order"):
                self.row_order.set_epoch(options["epoch"] if "epoch" in options else words[1])
            return super()._run_epoch(*words, **options)

        def create_optimizer(self, *words: Any) -> Any:
            if plan["method"] == "lora+" and getattr(self, "optimizer", None) is None:
                from peft.optimizers import create_loraplus_optimizer

                cls, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                rate = options.pop("lr")
                self.optimizer = create_loraplus_optimizer(
                    self.model, cls, lr=rate, loraplus_lr_ratio=_LORA_PLUS, **options
                )
            if plan["method"] == "galore" and getattr(self, "optimizer", None) is None:
                from appliance.work import galore

                self.optimizer = galore.GaLore(galore.groups(self.model, plan["rank"]), lr=self.args.learning_rate)
            return super().create_optimizer(*words)

    trainer = Trainer(
        model=model,
        args=settings(**{**_arguments(plan, spec, steps, every, str(context.folder / "trainer"), task), **own}),
        **tried,
        train_dataset=learned,
        **({"data_collator": attention.collator_of(tokenizer.pad_token_id)} if end_to_end else {}),
        eval_dataset=Dataset.from_list(encoded.held_out) if encoded.held_out else None,
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[watching.reporter(context, steps)],
    )
    # A Trainer prints its metrics by itself; here they are events.
    trainer.remove_callback(PrinterCallback)
    if plan["dtype"] == "float16":
        # TRL casts the adapters of 4-bit models to bfloat16; the gradient scaler of float16 needs them in float32.
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    if plan["method"] == "pissa" and not continues and trainer.args.process_index == 0:
        # What it begins with; the difference to the end is an ordinary adapter for the unchanged base.
        trainer.model.save_pretrained(str(context.folder / BEGINNING))
    # Adapters are whole in each process, and so are the optimizer's states: a checkpoint can hold them.
    trainer.args.save_only_model = False
    trainer.first = trainer.args.process_index == 0
    trainer.checkpoint_root = context.folder / "checkpoints"
    trainer.checkpoint_limit = spec.get("keep_checkpoints") or trainer.checkpoint_limit
    trainer.checkpoint_root.mkdir(exist_ok=True)
    return trainer


def _end_to_end(model: Any, context: Context) -> bool:
    """Whether rows can go through this model end to end; where not, it is said and they are padded."""
    from appliance.work import attention

    if context.plan.get("sharding") in ("fsdp", "zero3"):  # no model to look at before all processes share it
        why = _("its weights are shared between the cards")
    else:
        why = attention.use(model, context.plan.get("flash", True))
    if why:
        context.note(_("Rows are padded to the same length: {why}.").format(why=why))
    elif model.config._attn_implementation == attention.FLASH:
        context.note(_("Attention by the flash_attn package."))
    return not why


def _learned(examples: list[dict[str, Any]], context: Context, *, end_to_end: bool) -> Any:
    """What is learned as a Dataset: rows, or packs of them.

    A step's packs hold as many rows as it had without: where they can't be, there are so many more steps' rows.
    """
    from datasets import Dataset
    from trl import pack_dataset

    rows = Dataset.from_list(examples)
    if not context.plan.get("packing"):
        return rows
    packs = pack_dataset(rows, context.plan["length"], "bfd")
    if end_to_end:
        return packs
    context.plan["accumulation"] = round(context.plan["accumulation"] * len(rows) / len(packs))
    return rows


def _look(steps: int, batch: int, held_out: int) -> int:
    """Steps from one look at the held-out rows to the next; without such rows, from one checkpoint to the next.

    A look costs a third of learning from as many rows; together they may cost a twentieth of the training.
    """
    looks = 5
    if held_out:
        looks = max(3, min(10, round(_LOOKING * 3 * steps * batch / held_out)))
    return max(1, steps // looks)


def _arguments(
    plan: dict[str, Any], spec: dict[str, Any], steps: int, every: int, folder: str, task: str
) -> dict[str, Any]:
    on_cpu = plan.get("device") == "cpu"
    seed = spec.get("seed", SEED)
    return {
        "output_dir": folder,
        "per_device_train_batch_size": plan["micro_batch"],
        "per_device_eval_batch_size": plan["micro_batch"],
        "gradient_accumulation_steps": plan["accumulation"],
        "max_steps": steps,
        "learning_rate": plan["learning_rate"],
        # Short trainings end with a lower held-out loss than after a cosine or a long warm-up: docs/measured.md.
        "lr_scheduler_type": "linear",
        "warmup_steps": min(10, steps // 50),
        # GaLore's is made by hand.
        "optim": "adamw_torch" if plan["method"] == "galore" else plan.get("optimizer") or "adamw_torch",
        "bf16": plan["dtype"] == "bfloat16",
        "fp16": plan["dtype"] == "float16",
        "use_cpu": on_cpu,
        "neftune_noise_alpha": plan.get("neftune") or None,
        "gradient_checkpointing": bool(plan.get("checkpointing")),
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if plan.get("checkpointing") else None,
        **({} if task in BY_TRIAL else {"max_length": plan["length"]}),
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": every,
        # See above: transformers takes it for granted that trained values are sharded as well.
        "save_only_model": plan.get("sharding") == "fsdp",
        "deepspeed": zero.config(plan) if zero.stage(plan) else None,
        "ddp_backend": "gloo" if on_cpu and plan.get("gpus", 1) > 1 else None,
        "ddp_find_unused_parameters": False,
        "report_to": "tensorboard",
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
    }


def _adapter(plan: dict[str, Any], spec: dict[str, Any], task: str, sees: Any) -> Any:
    """`sees`: a model of which only the language part learns."""
    from peft import LoraConfig

    return LoraConfig(
        r=plan["rank"],
        lora_alpha=plan["alpha"],
        lora_dropout=spec.get("dropout", 0.0),
        target_modules=seeing.targets(sees) if sees else plan.get("targets") or "all-linear",
        use_dora=plan["method"] == "dora",
        use_rslora=plan["method"] == "rslora",
        # Sixteen rounds of a fast decomposition come within a hair of the exact one, in seconds instead of minutes.
        init_lora_weights="pissa_niter_16" if plan["method"] == "pissa" else True,
        bias="none",
        task_type="SEQ_CLS" if task == "reward" else "CAUSAL_LM",
        # The head that gives the number is new: an adapter on it would leave it random.
        modules_to_save=["score"] if task == "reward" else None,
    )


def balanced(labels: list[bool]) -> dict[str, float]:
    """KTO's weights for a file with more thumbs of one kind: the rarer kind counts as much as the other in all.

    KTO's paper, equation 8: desirable × their number over undesirable × theirs stays within 1 to 4/3.
    """
    good = max(1, sum(labels))
    bad = max(1, len(labels) - sum(labels))
    return {"desirable_weight": max(1.0, bad / good), "undesirable_weight": max(1.0, good / bad)}


def _encoded_already(base: Any) -> type:
    class EncodedAlready(base):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_more: Any, **_options: Any) -> Any:
            return dataset

        def tokenize_row(self, feature: Any, **_options: Any) -> Any:
            return feature

    return EncodedAlready


def _largest_seen(base: Any) -> type:
    class LargestSeen(base):  # type: ignore[misc]
        largest = (0, 0)  # rows and tokens a row of the largest batch that went through the model

        def training_step(self, model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
            # What is learned by trial has no tokens yet.
            given = inputs.items() if isinstance(inputs, dict) or hasattr(inputs, "items") else ()
            shapes = [tuple(value.shape) for name, value in given if name.endswith("input_ids")]
            self.largest = max([self.largest, *shapes], key=math.prod)
            return super().training_step(model, inputs, *more, **options)

    return LargestSeen
