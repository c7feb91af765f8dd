"""The other side of bench/training.py: one process in the training environment that has imported all, and forks for
each thing it is asked to do; so both sides start alike. A question is a JSON list on a line, the answer an object.

["make", FOLDER] · ["ours", JOB] · ["same", BASE, JOB, OUT] · ["stock", BASE, JOB, OUT, SEED, CHECKPOINTING] ·
["loss", BASE, ROWS, ADAPTER …]
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from appliance import files
from appliance.work import __main__ as worker
from appliance.work import finetune, rows

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import tiny

Answer = dict[str, Any]


def make(folder: str) -> Answer:
    """A Qwen3 of two million weights that reads letters."""
    fast = tiny.byte_tokenizer(Path(folder))
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(fast), hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=48, max_position_embeddings=2048, tie_word_embeddings=True,
        initializer_range=0.06, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return {}


def timed(train: Callable[[], object]) -> Answer:
    """Seconds by the clock and of the processor, all threads together."""
    began, busy = time.perf_counter(), time.process_time()
    train()
    return {"seconds": time.perf_counter() - began, "busy": time.process_time() - busy}


def ours(job: str) -> Answer:
    """The job's worker, whole; timed is its training alone."""
    found: Answer = {}
    train = finetune._train
    finetune._train = lambda *words: found.update(timed(lambda: train(*words)))
    os.setsid()
    sys.argv = ["work", job]
    worker.main()
    return found


def trained(base: str, job: str, out: str, seed: int = 42, **options: Any) -> Answer:
    """Train as SFTTrainer does with these options, on a job's own rows."""
    plan = files.read_json(Path(job) / "job.json")["plan"]
    transformers.set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = rows.encode_all(tokenizer, rows.read_rows(Path(job) / "rows.jsonl"), plan["length"]).examples
    lora = LoraConfig(r=plan["rank"], lora_alpha=plan["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    arguments = {
        "output_dir": out, "seed": seed, "max_steps": _steps(plan, len(examples)), "bf16": False, "use_cpu": True,
        "learning_rate": plan["learning_rate"], "dataset_kwargs": {"skip_prepare_dataset": True}, "disable_tqdm": True,
        "report_to": "none", "gradient_accumulation_steps": 1,
        "per_device_train_batch_size": plan["micro_batch"] * plan["accumulation"], **options,
    }  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=lora,
    )
    found = timed(trainer.train)
    trainer.model.save_pretrained(Path(out) / "adapter")
    return {**found, "adapter": str(Path(out) / "adapter")}


def _steps(plan: dict[str, Any], count: int) -> int:
    return -(-round(plan["epochs"] * count) // (plan["micro_batch"] * plan["accumulation"]))


def same(base: str, job: str, out: str) -> Answer:
    """The options that our worker takes."""
    plan = files.read_json(Path(job) / "job.json")["plan"]
    steps = _steps(plan, sum(1 for _row in rows.read_rows(Path(job) / "rows.jsonl")))
    return trained(
        base, job, out, per_device_train_batch_size=plan["micro_batch"],
        gradient_accumulation_steps=plan["accumulation"], optim=plan["optimizer"], lr_scheduler_type="linear",
        warmup_steps=min(10, steps // 50), gradient_checkpointing=plan["checkpointing"], logging_steps=1,
        save_steps=10_000, report_to="tensorboard", dataloader_pin_memory=False,
    )  # fmt: skip


def stock(base: str, job: str, out: str, seed: str, checkpointing: bool) -> Answer:
    """Its own options; its checkpointing of layers is one of them."""
    return trained(base, job, out, int(seed), gradient_checkpointing=checkpointing)


def loss(base: str, held: str, *adapters: str) -> Answer:
    """The loss a learned token on rows held out, before ("") and with each adapter."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    # Rows as a data file has them: these are in the internal form already.
    examples = rows.encode_all(tokenizer, rows.read_rows(Path(held)), 2048).examples
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    found = {}
    for adapter in ("", *adapters):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter:
            model = PeftModel.from_pretrained(model, adapter)
        model.eval()
        total, tokens = 0.0, 0
        for example in examples:
            batch = collator([example])
            with torch.no_grad():
                count = int((batch["labels"][:, 1:] != rows.READ_ONLY).sum())
                total += float(model(**batch).loss) * count
            tokens += count
        found[adapter] = total / tokens
    return found


DOES: dict[str, Callable[..., Answer]] = {"make": make, "ours": ours, "same": same, "stock": stock, "loss": loss}


def main() -> None:
    """Answer until nothing more is asked, or something went wrong."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the libraries print
    for line in sys.stdin:
        what, *words = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                print(json.dumps(DOES[what](*words)), file=out)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            break


if __name__ == "__main__":
    main()
