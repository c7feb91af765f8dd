"""The other side of bench/training.py, run in the training environment: makes the model, trains by bare TRL, measures.

make FOLDER · same BASE JOB OUT · stock BASE JOB OUT · loss BASE ROWS ADAPTER …
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from appliance import files
from appliance.work import rows
from appliance.work.demo_model import CHAT_TEMPLATE


def make(folder: Path) -> None:
    """A Qwen3 of two million weights that reads letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(fast), hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=48, max_position_embeddings=2048, tie_word_embeddings=True,
        initializer_range=0.06, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)


def trained(base: Path, job: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Train as SFTTrainer does with these options, on a job's own rows."""
    described = files.read_json(job / "job.json")
    plan = described["plan"]
    transformers.set_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = rows.encode_all(tokenizer, rows.read_rows(job / "rows.jsonl"), plan["length"]).examples
    lora = LoraConfig(r=plan["rank"], lora_alpha=plan["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    batch = plan["micro_batch"] * plan["accumulation"]
    arguments = {
        "output_dir": str(out), "max_steps": -(-round(plan["epochs"] * len(examples)) // batch), "bf16": False,
        "use_cpu": True,
        "learning_rate": plan["learning_rate"], "dataset_kwargs": {"skip_prepare_dataset": True}, "disable_tqdm": True,
        "report_to": "none", "gradient_accumulation_steps": 1, "per_device_train_batch_size": batch, **options,
    }  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=lora,
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    trainer.model.save_pretrained(out / "adapter")
    return {"seconds": round(seconds, 2), "adapter": str(out / "adapter")}


def same(base: Path, job: Path, out: Path) -> None:
    """The options that our worker takes."""
    plan = files.read_json(job / "job.json")["plan"]
    steps = -(
        -round(plan["epochs"] * sum(1 for _row in rows.read_rows(job / "rows.jsonl")))
        // (plan["micro_batch"] * plan["accumulation"])
    )
    say(
        trained(
            base, job, out, per_device_train_batch_size=plan["micro_batch"],
            gradient_accumulation_steps=plan["accumulation"], optim=plan["optimizer"], lr_scheduler_type="cosine",
            warmup_steps=min(10, steps // 10), gradient_checkpointing=plan["checkpointing"], logging_steps=1,
            save_steps=10_000, report_to="tensorboard", dataloader_pin_memory=False,
        )
    )  # fmt: skip


def stock(base: Path, job: Path, out: Path) -> None:
    """Its own options; then without its checkpointing of layers."""
    say(trained(base, job, out))
    say(trained(base, job, out.with_name("lighter"), gradient_checkpointing=False))


def loss(base: Path, held: Path, *adapters: str) -> None:
    """The loss a learned token on rows held out, before and with each adapter."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    # Rows as a data file has them: these are in the internal form already.
    examples = rows.encode_all(tokenizer, rows.read_rows(held), 2048).examples
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    found = {}
    for adapter in ("base", *adapters):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter != "base":
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
    say(found)


def say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    made = {"make": make, "same": same, "stock": stock, "loss": loss}[what]
    made(*(Path(word) if place < 2 or what in ("same", "stock") else word for place, word in enumerate(words)))  # type: ignore[operator]
