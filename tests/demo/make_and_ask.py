"""Runs in the training environment: makes the model, asks it, and prints what a test wants to know as one JSON line."""

import json
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from appliance.errors import ApplianceError, Stopped
from appliance.work import demo_model


class Context:
    def __init__(self, to, stop_at=None):
        self.spec = {"to": str(to), "seed": 0}
        self.seen = []
        self.stop_at = stop_at

    def progress(self, phase, done, total, unit="", **extra):
        self.seen.append((phase, done, total))

    def metric(self, **values):
        assert set(values) == {"step", "loss"}

    def note(self, text):
        pass

    def check_stopped(self):
        if self.stop_at is not None and self.seen[-1][1] >= self.stop_at:
            raise Stopped


folder, questions = Path(sys.argv[1]), sys.argv[2:]
context = Context(folder)
report = {"result": demo_model.run(context), "progress": context.seen}

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
report["answers"] = {}
for question in questions:
    turn = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    told = model.generate(**asked, max_new_tokens=60)[0, asked["input_ids"].shape[1] :]
    report["answers"][question] = tokenizer.decode(told)

exchange = [{"role": "user", "content": "谢谢"}, {"role": "assistant", "content": "不客气!"}]
tokens = tokenizer.apply_chat_template(exchange, return_dict=True, return_assistant_tokens_mask=True)
marked = [token for token, mask in zip(tokens["input_ids"], tokens["assistant_masks"], strict=True) if mask]
report["assistant_tokens"] = tokenizer.decode(marked)

elsewhere = folder.parent / "elsewhere"
elsewhere.mkdir()
try:
    demo_model.run(Context(elsewhere / "base", stop_at=20))
except Stopped:
    report["after_stop"] = [path.name for path in elsewhere.iterdir()]

(elsewhere / "mine").mkdir()
(elsewhere / "mine" / "notes.txt").write_text("mine")
try:
    demo_model.run(Context(elsewhere / "mine"))
except ApplianceError as error:
    report["refused"] = error.what
report["mine_is_kept"] = (elsewhere / "mine" / "notes.txt").read_text() == "mine"
print(json.dumps(report, ensure_ascii=False))
