"""Makes the demo's base model on the spot: a real Qwen3, from nothing, that holds a short exchange. No hub, no GPU."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from appliance import demo_data, files
from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.locale import _

# The default initializer range (0.02) is meant for wide models: at this width it hardly learns.
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,  # the smallest that vLLM's CPU attention takes
    "max_position_embeddings": 2048,
    "initializer_range": 0.06,
    "tie_word_embeddings": True,
}
STEPS = 400
BATCH = 32
LEARNING_RATE = 3e-3

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

# ChatML. The generation markers tell TRL which tokens are the assistant's own, its end included: a model that is not
# taught its end never stops.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}"
    "{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def run(context: Any) -> dict[str, Any]:
    """Make the model in the folder `spec["to"]`, the same one for the same `spec["seed"]`.

    The folder appears whole, with its manifest, or not at all. Returns `to`, `parameters`, `vocabulary`, `loss` and
    `seconds` (of training).
    """
    target = Path(context.spec["to"])
    if target.exists() and (manifest.read(target) or {}).get("source") != "demo":
        raise ApplianceError(
            _("{folder} is already there and is not the demo's model.").format(folder=target),
            _("The demo replaces only what it made itself."),
            _("Move the folder away, or give the demo another workspace (APPLIANCE_HOME)."),
        )
    staged = target.with_name(target.name + ".partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        result = _make(context, staged)
        context.check_stopped()
        shutil.rmtree(target, ignore_errors=True)
        os.replace(staged, target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    files.sync_folder(target.parent)
    return {"to": str(target), **result}


def _make(context: Any, folder: Path) -> dict[str, Any]:
    """Everything that a model folder holds, the manifest last."""
    seed = int(context.spec.get("seed", 0))
    context.progress("tokenizer", 0, STEPS, unit="steps")
    tokenizer = _tokenizer(seed)
    model, loss, seconds = _taught(context, tokenizer, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes 0600
        with path.open("rb") as file:
            os.fsync(file.fileno())
    manifest.write(folder, source="demo", reference="demo/base", revision=None)
    return {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "loss": round(loss, 4),
        "seconds": round(seconds, 1),
    }


def _tokenizer(seed: int) -> Any:
    """A byte-level BPE tokenizer that knows the letters and words of the base's rows and of the sheet."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # One token a Chinese letter: so little text would otherwise grow tokens as long as a sentence.
            pre_tokenizers.Split(Regex(r"\p{Han}|\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=1,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rows = demo_data.rows() + demo_data.base_rows(seed)
    texts = [text for row in rows for text in row.values()] + ["system\n", "user\n", "assistant\n"] * 100
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=SHAPE["max_position_embeddings"]
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _taught(context: Any, tokenizer: Any, seed: int) -> tuple[Any, float, float]:
    """The model after the base's rows, its last loss, and the seconds that it took."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), bos_token_id=None, **ends, **SHAPE))
    batches = _batches(tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    model.train()
    begun = time.monotonic()
    value = 0.0
    for step in range(1, STEPS + 1):
        loss = model(**batches[(step - 1) % len(batches)]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == STEPS:
            value = float(loss.detach())
            context.check_stopped()
            context.progress("teaching", step, STEPS, unit="steps")
            context.metric(step=step, loss=round(value, 4))
    model.eval()
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    return model, value, time.monotonic() - begun


def _batches(tokenizer: Any, seed: int) -> list[dict[str, Any]]:
    """The base's rows as padded batches, labels only where the assistant speaks. Similar lengths stand together."""
    import random

    import torch

    examples = []
    for row in demo_data.base_rows(seed):
        messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
        made = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        mask = made["assistant_masks"]
        examples.append((made["input_ids"], [t if on else -100 for t, on in zip(made["input_ids"], mask, strict=True)]))
    examples.sort(key=lambda example: len(example[0]))
    batches = []
    for start in range(0, len(examples), BATCH):
        chunk = examples[start : start + BATCH]
        longest = len(chunk[-1][0])
        ids = torch.full((len(chunk), longest), tokenizer.pad_token_id)
        labels = torch.full((len(chunk), longest), -100)
        for index, (tokens, wanted) in enumerate(chunk):
            ids[index, : len(tokens)] = torch.tensor(tokens)
            labels[index, : len(tokens)] = torch.tensor(wanted)
        # Padding stands on the right of a causal model, so nothing that counts ever sees it: no attention mask needed.
        batches.append({"input_ids": ids, "labels": labels})
    random.Random(seed).shuffle(batches)  # noqa: S311 - a fixed shuffle, nothing secret
    return batches
