"""The same questions before and after the training, so that a person sees what it changed, and whether answers end.

The questions are those of rows that were held out, or of the rows themselves where none were. Asked before anything is
learned and written down at once, a resumed job still knows what the model said at first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.rewards import TASKS as BY_TRIAL
from appliance.work.context import Context
from appliance.work.conversation import Written
from appliance.work.seeing import Seer

NAME = "answers.json"
_QUESTIONS, _CANDIDATES = 4, 8
# Tokens an answer may have: on a processor each takes a fraction of a second.
_LONGEST, _LONGEST_ON_CPU, _SHORTEST = 256, 64, 16
_TASKS = ("sft", "dpo", "kto", "orpo", "simpo", *BY_TRIAL)


def before(context: Context, model: Any, tokenizer: Any, task: str, seer: Seer | None = None) -> None:
    """Ask the model as it is. Nothing for tasks that make no answers, for shared models, and where it was asked."""
    if task not in _TASKS or context.plan.get("sharding") in ("fsdp", "zero3") or (context.folder / NAME).exists():
        return
    asked: list[dict[str, Any]] = []
    for row in _chosen(context.folder):
        context.check_stopped()
        if len(asked) == _QUESTIONS:
            break
        taught = row["messages"][-1:] if "messages" in row else row.get("chosen") or row["completion"]
        question = row["messages"][:-1] if "messages" in row else row["prompt"]
        wanted = str(taught[-1]["content"])
        longest = _LONGEST if context.plan.get("device") == "cuda" else _LONGEST_ON_CPU
        room = 2 * len(tokenizer(wanted, add_special_tokens=False)["input_ids"])
        if task in BY_TRIAL:  # the row's answer is what should come out, not how long the way to it is
            room = longest + 1
        one = {
            "messages": question,
            "tools": row.get("tools"),
            "images": row.get("images", []),
            "question": next((m["content"] for m in reversed(question) if m["role"] == "user"), ""),
            "taught": wanted,
            "tokens": max(_SHORTEST, min(longest, room)),
            "room": room <= longest,
        }
        try:
            asked.append({**one, "before": ask(model, tokenizer, one, context.plan["length"], seer)[0]})
        except (ApplianceError, RuntimeError):  # one that the template refuses, or longer than there is room for
            continue
    files.write_json(context.folder / NAME, asked)


def after(
    context: Context, model: Any, tokenizer: Any, seer: Seer | None = None
) -> tuple[list[dict[str, Any]], bool | None]:
    """(question, before, after, stopped of each; whether answers stop by themselves, None where that can't be told)."""
    try:
        asked = files.read_json(context.folder / NAME)
    except (OSError, ValueError):
        return [], None
    answers, stops = [], []
    for one in asked:
        context.check_stopped()
        try:
            text, stopped = ask(model, tokenizer, one, context.plan["length"], seer)
        except (ApplianceError, RuntimeError):  # no memory left for it: the adapter is what counts
            continue
        answers.append(
            {**{name: one[name] for name in ("question", "taught", "before")}, "after": text, "stopped": stopped}
        )
        if one["room"]:
            stops.append(stopped)
    return answers, (sum(stops) * 2 > len(stops)) if stops else None


def ask(model: Any, tokenizer: Any, one: dict[str, Any], length: int, seer: Seer | None = None) -> tuple[str, bool]:
    """(answer, whether it ended by itself), greedily. Raises ApplianceError for a question of `length` tokens."""
    import torch

    images = one.get("images", [])
    written = Written(tokenizer, one["messages"], one["tools"], pictures=bool(images))
    text = written.part(len(written.messages), prompt=True)
    if seer:
        asked = {name: value.to(model.device) for name, value in seer.inputs(text, images, return_tensors="pt").items()}
    else:
        asked = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(model.device)
    if asked["input_ids"].shape[1] >= length:
        raise ApplianceError(_("The question is longer than the length."))
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    config = model.config.get_text_config()
    was_training, cached = model.training, config.use_cache
    model.eval()
    config.use_cache = True
    try:
        with torch.inference_mode():
            made = model.generate(
                **asked,
                max_new_tokens=one["tokens"],
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=sorted(ends) or None,
                pad_token_id=tokenizer.pad_token_id,
            )
    finally:
        config.use_cache = cached
        model.train(was_training)
    new = made[0, asked["input_ids"].shape[1] :].tolist()
    return tokenizer.decode(new, skip_special_tokens=True).strip(), bool(new) and new[-1] in ends


def _chosen(folder: Path) -> list[dict[str, Any]]:
    """A few rows that end in words of the assistant, spread evenly."""
    held = folder / "held_out.json"
    numbers = frozenset(files.read_json(held)) if held.exists() else None
    found = []
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if numbers is None or number in numbers:
                row = json.loads(line)
                last = (row.get("messages") or row.get("chosen") or row.get("completion") or [{}])[-1]
                if last.get("role") == "assistant" and last.get("content") and row.get("label", True):
                    found.append(line)
    places = (
        sorted({round(place * (len(found) - 1) / (_CANDIDATES - 1)) for place in range(_CANDIDATES)}) if found else []
    )
    return [json.loads(found[place]) for place in places]
