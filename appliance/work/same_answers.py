"""The same answers: what training answered at its end is asked again when serving starts.

`keep` runs in the training environment and writes a file beside the adapter; a merge carries it on. `compare` asks the
server over its own address and says, where an answer differs, which of template, dtype or stop token is the cause.
"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.parse
from pathlib import Path
from typing import Any

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work.context import Context
from appliance.work.conversation import Written

FILE = "trained-answers.json"
_PROMPTS, _TOKENS = 3, 24
# On a slow machine the server is ready without having been asked everything.
_SECONDS = 60.0


def keep(model: Any, tokenizer: Any, folder: Path, rows: Path, dtype: str) -> None:
    """Ask the trained model a few of its own rows' questions, greedily, and write the answers into `folder`."""
    import torch

    if not tokenizer.chat_template or getattr(model, "generation_config", None) is None:
        return
    prompts = _prompts(tokenizer, rows)
    if not prompts:
        return
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends if ends is not None else tokenizer.eos_token_id]
    if ends == [None]:  # nothing ends an answer: there is nothing to compare
        return
    answers = []
    config = model.config.get_text_config()
    was_training, cached = model.training, config.use_cache
    model.eval()
    config.use_cache = True
    try:
        for messages, tools in prompts:
            text = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
            asked = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                made = model.generate(
                    **asked,
                    max_new_tokens=_TOKENS,
                    do_sample=False,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    eos_token_id=ends,
                    pad_token_id=tokenizer.pad_token_id,
                )
            new = made[0, asked["input_ids"].shape[1] :].tolist()
            answers.append(
                {
                    "messages": messages,
                    "tools": tools,
                    "prompt_tokens": int(asked["input_ids"].shape[1]),
                    "answer": tokenizer.decode(new, skip_special_tokens=True),
                    "ended": bool(new) and new[-1] in ends,
                }
            )
    except Exception:  # a template that refuses, no memory left: the adapter is what counts
        return
    finally:
        config.use_cache = cached
        model.train(was_training)
    kept = {"dtype": dtype, "template": _sha256(tokenizer.chat_template), "ends": ends, "answers": answers}
    files.write_json(folder / FILE, kept)


def _prompts(tokenizer: Any, rows: Path) -> list[tuple[list[dict[str, Any]], Any]]:
    """The questions of the first, a middle and the last row: up to its last answer, or to its first call. As the
    template can write them: what it refuses, such as a system message, it refuses of a client too.
    """
    found = []
    with rows.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            messages = [] if row.get("images") else row.get("messages") or row.get("prompt") or []
            # The server checks a call's arguments as a JSON text; rows with calls may have them otherwise.
            plain = [isinstance(m.get("content"), str) and not m.get("tool_calls") for m in messages]
            messages = messages[: plain.index(False)] if False in plain else messages
            while messages and messages[-1]["role"] == "assistant":
                messages = messages[:-1]
            if messages:
                found.append((messages, row.get("tools")))
    written = []
    for place in sorted({0, len(found) // 2, len(found) - 1})[:_PROMPTS] if found else []:
        try:
            one = Written(tokenizer, *found[place])
        except ApplianceError:  # left out of the training too
            continue
        written.append((one.messages, one.options.get("tools")))
    return written


def _sha256(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def kept(folder: Path) -> dict[str, Any]:
    """What training left in a model's or adapter's folder; empty when there is nothing."""
    try:
        value = files.read_json(folder / FILE)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("answers"), list) else {}


def compare(
    context: Context, address: str, headers: dict[str, str], spec: dict[str, Any], options: dict[str, Any]
) -> None:
    """Ask again, and say on the screen what differs and why. Never an error: the server serves all the same.

    headers  what opens the server, and keeps these questions out of its log of requests
    """
    deadline = time.monotonic() + _SECONDS
    for name, folder in [
        (spec["name"], spec["model"]),
        *((a["name"], a["folder"]) for a in spec.get("adapters") or []),
    ]:
        trained = kept(Path(folder))
        if not trained:
            continue
        context.event("phase", text=_("asking what training asked"))
        asked = different = 0
        causes: list[str] = []
        for one in trained["answers"]:
            if time.monotonic() > deadline:
                break
            try:
                told = _ask(address, headers, name, one, deadline - time.monotonic())
                if told["answer"].strip() != one["answer"].strip():
                    different += 1
                    causes += _causes(trained, one, told, Path(folder), options)
            except Exception as error:  # the server, or a file that a stranger wrote
                context.note(_("What training answered could not be asked again: {why}").format(why=error))
                break
            asked += 1
        if not different:
            if asked:
                context.note(_("{name} answers as it did at the end of training.").format(name=name))
        elif causes:
            context.warn(
                _("{name} answers otherwise than at the end of training ({n} of {all}): {causes}").format(
                    name=name, n=different, all=asked, causes=" ".join(dict.fromkeys(causes))
                )
            )
        else:
            context.note(
                _(
                    "{name}: {n} of {all} answers differ from training's in their wording, with the same template, "
                    "dtype and stop tokens: rounding, most likely."
                ).format(name=name, n=different, all=asked)
            )


def _ask(address: str, headers: dict[str, str], name: str, one: dict[str, Any], seconds: float) -> dict[str, Any]:
    parts = urllib.parse.urlsplit(address)
    body = {"model": name, "messages": one["messages"], "max_tokens": _TOKENS, "temperature": 0}
    if one.get("tools"):
        body["tools"] = one["tools"]
    headers = {"Content-Type": "application/json", **headers}
    import http.client  # only where a server is asked: it brings TLS along

    wire = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=max(1.0, seconds))
    try:
        wire.request("POST", parts.path + "/chat/completions", json.dumps(body).encode(), headers)
        value = json.load(wire.getresponse())
    finally:
        wire.close()
    choice = value["choices"][0]
    message = choice["message"]
    return {
        "answer": (message.get("reasoning_content") or "") + (message.get("content") or ""),
        "ended": choice["finish_reason"] != "length",
        "prompt_tokens": value["usage"]["prompt_tokens"],
    }


def _causes(
    trained: dict[str, Any], one: dict[str, Any], told: dict[str, Any], folder: Path, options: dict[str, Any]
) -> list[str]:
    """Sentences for a person, the likeliest first."""
    found = []
    template = _template(folder)
    if template is not None and _sha256(template) != trained.get("template"):
        found.append(_("The chat template is not the one of the training."))
    elif told["prompt_tokens"] != one["prompt_tokens"]:
        found.append(
            _("The chat template writes the question in {n} tokens; training read {m}.").format(
                n=told["prompt_tokens"], m=one["prompt_tokens"]
            )
        )
    serves, learned = options.get("dtype"), trained.get("dtype")
    if serves and learned and serves not in ("auto", learned):
        found.append(_("It is served in {serves} and was trained in {learned}.").format(serves=serves, learned=learned))
    goes_on = told["answer"].startswith(one["answer"].strip()) and one["ended"] and not told["ended"]
    ends = _ends(folder)
    if goes_on or (ends is not None and sorted(ends) != sorted(trained.get("ends") or [])):
        found.append(_("It does not stop where training ended: the stop token in generation_config.json is another."))
    return found


def _template(folder: Path) -> str | None:
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except OSError:
        pass
    try:
        value = files.read_json(folder / "tokenizer_config.json").get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, str) else None


def _ends(folder: Path) -> list[int] | None:
    try:
        value = files.read_json(folder / "generation_config.json").get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, list) else [value] if isinstance(value, int) else None
