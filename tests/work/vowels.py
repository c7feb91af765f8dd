"""For the training environment: `vowels.py BASE ADAPTER` prints how likely answers begin with a vowel."""

from __future__ import annotations

import json
import sys
from typing import Any


def main(base: str, adapter: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(adapter)
    vowels = tokenizer.convert_tokens_to_ids(list("aeiou"))

    def likely(model: Any) -> float:
        asked = [[{"role": "user", "content": f"{number} + {number}?"}] for number in range(8)]
        words = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
        found = [tokenizer.apply_chat_template(one, **words)["input_ids"] for one in asked]
        with torch.no_grad():
            return sum(float(model(ids).logits[0, -1].softmax(-1)[vowels].sum()) for ids in found) / len(found)

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    before = likely(model)
    print(json.dumps({"before": before, "after": likely(PeftModel.from_pretrained(model, adapter).eval())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
