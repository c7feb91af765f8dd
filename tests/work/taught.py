"""For the training environment: `taught.py BASE` prints what plain peft makes of adapters.

On stdin {name: [adapter, beginning]}, the beginning a text or {messages, tools}; on stdout {name: {before, after,
factors}}: what base and adapter go on with, greedily, and how large the second factors of the adapter are on average.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from appliance.work.conversation import Written


def said(model: Any, tokenizer: Any, beginning: Any) -> str:
    if not isinstance(beginning, str):
        written = Written(tokenizer, beginning["messages"], beginning.get("tools"))
        beginning = written.part(len(written.messages), prompt=True)
    asked = tokenizer(beginning, add_special_tokens=False, return_tensors="pt")
    with torch.inference_mode():
        made = model.generate(**asked, max_new_tokens=96, do_sample=False)
    return str(tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))


def main(base: str) -> None:
    found = {}
    for name, (adapter, beginning) in json.load(sys.stdin).items():
        tokenizer = AutoTokenizer.from_pretrained(adapter)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        before = said(model, tokenizer, beginning)
        model = PeftModel.from_pretrained(model, adapter).eval()
        second = [value.abs().mean().item() for key, value in model.named_parameters() if "lora_B" in key]
        after = said(model, tokenizer, beginning)
        found[name] = {"before": before, "after": after, "factors": sum(second) / len(second)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
