"""Tiny models, adapters and rows for the tests of jobs, work and the command line.

`make(folder)` runs this file once in the training environment. It makes a Qwen3 of some ten thousand weights with a
tokenizer and a chat template, the same in three precisions, adapters of each kind for it, and what peft merges of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance import settings

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PRECISIONS = ("float32", "bfloat16", "float16")


def make(folder: Path) -> Path:
    """base-{float32,bfloat16,float16}, adapters/{plain,dora,saved,patterns}, merged/{precision}-{adapter}."""
    variables = {**settings.child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [settings.python_of("train"), __file__, folder], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def write_rows(path: Path, count: int = 40) -> Path:
    """Questions and answers of several lengths, so that the order of rows matters for what is learned."""
    rows = [{"question": f"{i} + {i}?", "answer": f"{i} + {i} = {2 * i}" + " 好" * (i % 5)} for i in range(count)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def byte_tokenizer(folder: Path) -> Any:
    """A tokenizer that reads bytes, with a chat template; saved in the folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
    return fast


def main(folder: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    fast = byte_tokenizer(folder / "base-float32")
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
    )
    original = Qwen3ForCausalLM(config)
    for precision in PRECISIONS:
        target = folder / f"base-{precision}"
        byte_tokenizer(target)
        # float16 in several shards
        size = "100KB" if precision == "float16" else "5GB"
        original.to(getattr(torch, precision)).save_pretrained(target, max_shard_size=size)

    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "dora": {"use_dora": True},
        "saved": {"modules_to_save": ["lm_head"]},
        "patterns": {"rank_pattern": {"q_proj": 2}},
    }
    for name, options in kinds.items():
        base = AutoModelForCausalLM.from_pretrained(folder / "base-float32", dtype=torch.float32)
        lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **options)
        adapted = get_peft_model(base, lora)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        adapted.save_pretrained(folder / "adapters" / name)

    for precision in PRECISIONS:
        for name in kinds if precision == "bfloat16" else ("plain",):
            dtype = getattr(torch, precision)
            base = AutoModelForCausalLM.from_pretrained(folder / f"base-{precision}", dtype=dtype)
            merged = PeftModel.from_pretrained(base, folder / "adapters" / name).merge_and_unload()
            merged.save_pretrained(folder / "merged" / f"{precision}-{name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
