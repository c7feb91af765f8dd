"""For the training environment: `prefers.py BASE ADAPTER` prints how much yes is preferred to no, before and after."""

from __future__ import annotations

import json
import sys
from typing import Any


def main(base: str, adapter: str) -> None:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(adapter)
    reward = PeftConfig.from_pretrained(adapter).task_type == "SEQ_CLS"
    torch.manual_seed(0)
    if reward:
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        model.config.pad_token_id = tokenizer.pad_token_id
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    def value(model: Any, number: int, answer: str) -> float:
        question = {"role": "user", "content": f"{number}?"}
        prompt = tokenizer.apply_chat_template([question], tokenize=True, return_dict=True, add_generation_prompt=True)[
            "input_ids"
        ]
        whole = tokenizer.apply_chat_template(
            [question, {"role": "assistant", "content": answer}], tokenize=True, return_dict=True
        )["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0]
        if reward:
            return float(logits[0])
        likely = torch.log_softmax(logits.float(), -1)
        places = range(len(prompt), len(whole))
        return sum(float(likely[place - 1, whole[place]]) for place in places) / len(places)

    def preference(model: Any) -> float:
        model.eval()
        return sum(value(model, number, "yes") - value(model, number, "no") for number in range(8)) / 8

    before = preference(model)
    print(json.dumps({"before": before, "after": preference(PeftModel.from_pretrained(model, adapter))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
