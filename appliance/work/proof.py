"""The proof after a merge: does the merged model say what base + adapter say?

`prove` asks a child in the training environment; `python -m appliance.work.proof FILE.json` is that child. Base +
adapter answer some prompts, word by word the likeliest (greedy); at every place of these answers the merged model is
asked what it would say there. The prompts are fixed and no one's training data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance import files, settings
from appliance.hardware import cpu
from appliance.locale import _
from appliance.work.context import Context

# Rounding the merged weights to 16 bits alone moves a few of a hundred words; below this, something is wrong.
GOOD = 0.9
_PROMPTS = (
    "Explain in one sentence what a bridge is for.",
    "What is the capital of France?",
    "Write a short greeting to a new colleague.",
    "2, 4, 8, 16, what comes next, and why?",
    "用一句话介绍你自己。",
    "请列出三种常见的水果。",
    "How do I boil an egg?",
    "把“早上好，很高兴认识你”翻译成英文。",
)
_NEW_TOKENS = 16
_LIBRARIES_BYTES = 3 * 2**29


def prove(base: Path, adapters: list[tuple[Path, float]], merged: Path, context: Context) -> dict[str, Any]:
    """{done, same, places, same_answers, prompts, dtype, sentence}, or {done: False, why}. Raises Stopped."""
    if not settings.python_of("train").exists():
        return {"done": False, "why": _("the training environment is not installed (make setup).")}
    dtype = _dtype(merged)
    if dtype is None:
        return {"done": False, "why": _("the memory that is free is too small for the model.")}
    context.progress("comparing", 0, 2)
    wish = context.folder / "proof.json"
    answer = context.folder / "proof-answer.json"
    answer.unlink(missing_ok=True)
    files.write_json(
        wish,
        {
            "base": str(base),
            "adapters": [[str(folder), weight] for folder, weight in adapters],
            "merged": str(merged),
            "dtype": dtype,
            "answer": str(answer),
        },
    )
    variables = settings.child_environment()
    # Cards belong to jobs that lock them.
    variables |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "APPLIANCE_PARENT": str(os.getpid())}
    child = subprocess.Popen(
        [str(settings.python_of("train")), "-P", "-m", "appliance.engines.tether",
         str(settings.python_of("train")), "-P", "-m", "appliance.work.proof", str(wish)],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
    )  # fmt: skip
    try:
        while child.poll() is None:
            try:
                child.wait(0.2)
            except subprocess.TimeoutExpired:
                context.check_stopped()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    try:
        told = files.read_json(answer)
    except (OSError, ValueError):
        return {"done": False, "why": _("it failed; the job's log says how.")}
    context.progress("comparing", 2, 2)
    told["sentence"] = _(
        "The merged model says the same as base + adapter at {same} of {places} places of {prompts} answers ({share})."
    ).format(
        same=told["same_places"], places=told["places"], prompts=told["prompts"], share=f"{100 * told['same']:.1f} %"
    )
    return {"done": True, **told}


def _dtype(merged: Path) -> str | None:
    """float32 where the memory allows it, else the model's own 16 bits; None where not even those fit."""
    stored = sum(path.stat().st_size for path in merged.glob("*.safetensors"))
    config = files.read_json(merged / "config.json")
    own = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    free = cpu.read(Path("/")).free_gib * 2**30 - _LIBRARIES_BYTES
    if stored * (1 if own == "float32" else 2) * 1.15 < free:
        return "float32"
    return own if stored * 1.15 < free else None


# --- the child -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Compare, and write the answer."""
    import torch

    from appliance.work import merge_peft

    wish = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    base, merged = Path(wish["base"]), Path(wish["merged"])
    dtype = getattr(torch, wish["dtype"])
    inputs = _encode(merged)
    adapters = [(Path(folder), float(weight)) for folder, weight in wish["adapters"]]
    with torch.no_grad():
        model = merge_peft.adapted(
            merge_peft.load_base(base, files.read_json(base / "config.json"), dtype), adapters
        ).eval()
        start = inputs["input_ids"].shape[1]
        sequences = model.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False, num_beams=1)
        theirs, alive = _choices(model, sequences, inputs, start)
        del model
        model = merge_peft.load_base(merged, files.read_json(merged / "config.json"), dtype).eval()
        ours, _alive = _choices(model, sequences, inputs, start)
    same = (theirs == ours) & alive
    places = int(alive.sum())
    files.write_json(
        Path(wish["answer"]),
        {
            "same": int(same.sum()) / max(1, places),
            "same_places": int(same.sum()),
            "places": places,
            "same_answers": int((same == alive).all(dim=1).sum()),
            "prompts": len(_PROMPTS),
            "dtype": wish["dtype"],
        },
    )


def _encode(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    prompts = list(_PROMPTS)
    if tokenizer.chat_template:
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            for prompt in prompts
        ]
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=not tokenizer.chat_template)
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def _choices(model: Any, sequences: Any, inputs: dict[str, Any], start: int) -> tuple[Any, Any]:
    """(the likeliest token at every place of the answers, whether the place belongs to the answer)."""
    import torch

    new = sequences.shape[1] - start
    mask = torch.cat([inputs["attention_mask"], torch.ones(len(sequences), new, dtype=torch.long)], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=sequences, attention_mask=mask, position_ids=positions, use_cache=False).logits
    ends = model.generation_config.eos_token_id
    ends = torch.tensor(ends if isinstance(ends, list) else [-1 if ends is None else ends])
    ended = torch.isin(sequences[:, start:], ends).cumsum(1)
    # A place counts up to the answer's end, the end itself too.
    alive = torch.cat([torch.ones(len(sequences), 1, dtype=torch.bool), ended[:, :-1] == 0], dim=1)
    return logits[:, start - 1 : -1].argmax(-1), alive


if __name__ == "__main__":
    main()
