"""`python asked_to_look.py MODEL ADAPTER PICTURE…`, in the training environment: what the base and the adapter, loaded
with plain peft, say to each picture; and whether any part that sees has a gradient or is adapted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from appliance.data.images import Images
from appliance.work import before_after, loading, seeing


def main(base: Path, adapter: Path, pictures: list[Path]) -> None:
    tokenizer = loading.load_tokenizer(adapter)
    seer = seeing.load(base, tokenizer, Images(pictures[0].parent))
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)

    def said() -> list[str]:
        ask = [{"role": "user", "content": "<image>What colour?"}]
        return [
            before_after.ask(
                model, tokenizer, {"messages": ask, "tools": None, "images": [one.name], "tokens": 8}, 999, seer
            )[0]
            for one in pictures
        ]

    before = said()
    outside = seeing.outside(model)
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    after = said()
    model.train()
    row = {"messages": [{"role": "user", "content": "<image>What colour?"}, {"role": "assistant", "content": "red"}]}
    batch = seer.batch([seer.encode({**row, "images": [one.name]}) for one in pictures])
    model(**batch).loss.backward()
    graded = [name for name, value in model.named_parameters() if value.grad is not None]
    print(json.dumps({
        "before": before, "after": after, "graded": len(graded), "outside": outside,
        "seeing_graded": [name for name in graded if any(f".{part}." in name for part in outside)],
        "seeing_adapted": [name for name, _value in model.named_parameters()
                           if "lora" in name and any(f".{part}." in name for part in outside)],
    }))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(word) for word in sys.argv[3:]])
