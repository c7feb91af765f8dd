"""Run in the training environment: the loss a token of some rows, each alone and together in every way there is."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from appliance.work import attention, loading

WORDS, LONGEST = 250, 60


def rows(count: int = 12) -> list[dict[str, Any]]:
    chance = random.Random(1)
    made = []
    for _row in range(count):
        ids = [chance.randrange(WORDS) for _word in range(chance.randrange(3, LONGEST))]
        made.append({"input_ids": ids, "labels": [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]})
    return made


def loss(model: Any, batches: list[dict[str, Any]]) -> float:
    total, tokens = 0.0, 0
    for batch in batches:
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            said = model(**batch, use_cache=False).logits[:, :-1]
        total += torch.nn.functional.cross_entropy(
            said.reshape(-1, said.shape[-1]), labels.reshape(-1), reduction="sum"
        ).item()
        tokens += int((labels != -100).sum())
    return total / tokens


def measured(model: Any) -> dict[str, Any]:
    found = rows()
    padded, free = DataCollatorForLanguageModeling(pad_token_id=0), attention.collator_of(0)
    answer: dict[str, Any] = {
        "alone": loss(model, [padded([row]) for row in found]),
        "padded": loss(model, [padded(found)]),
        "why": attention.use(model),
    }
    answer["end to end"] = loss(model, [free(found)])
    packs = list(pack_dataset(Dataset.from_list(found), LONGEST, "bfd"))
    assert len(packs) < len(found)
    answer["packed"] = loss(model, [free(packs[:2]), free(packs[2:])])
    return answer


class Mixed(MistralForCausalLM):  # type: ignore[misc]
    """Its layers carry something over from one row to the next."""

    def forward(self, **words: Any) -> Any:
        words.pop("row_bounds", None)
        words["position_ids"] = None
        return super().forward(**words)


def main(base: Path) -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=16, max_position_embeddings=128,
    )  # fmt: skip
    answer = {
        "full": measured(AutoModelForCausalLM.from_pretrained(base).eval()),
        "window": measured(MistralForCausalLM(config).eval()),
        "liger": loading.use_liger(None),
        "mixed": {"why": attention.use(Mixed(config))},
    }
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
