"""Conversations as they are written down elsewhere, as messages of the internal form.

Turns come as ShareGPT (from, value), OpenAI (role, content, tool_calls), Anthropic (tool_use and tool_result blocks),
pairs ({"human": …, "assistant": …}, [question, answer]), bare texts that alternate, or as one text with marks such as
`Human:` and `Assistant:`, `### Instruction:`, ChatML or Llama's [INST].
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from appliance.data import harmony, words
from appliance.data.rows import Message, Unusable, calls_of, literal, message, text_of
from appliance.data.shown import IMAGE, named_images, taken_out

# None of the patterns begins with blanks of any number: on a long run of them that takes time without end.
_CALL = re.compile(
    r"<(tool_call|functioncall|function_call|\|python_tag\|(?=>\s?\{))>(.*?)(?:</\1>|<\|eom_id\|>|$)", re.S
)
_ASKING = ("human", "user", "question", "query", "prompt", "instruction", "q", "input", "问", "问题", "用户")
_ANSWERING = ("assistant", "gpt", "answer", "response", "output", "bot", "a", "moss", "答", "回答", "答案", "助手")
# One pattern for all marks: a role and a colon, at the start of a line, or anywhere behind "### ", "[" or "<|".
_MARK = re.compile(
    r"(?:^|\n)[ \t]*(?:###[ \t]*|\[|<\|?)?(human|assistant|user|system|function response|instruction|input|response"
    r"|moss|gpt|bot|prompter|用户|助手|问|答|患者|医生|客服|客户)(?:\]|\|?>)?[ \t]*[:：][ \t]*"
    r"|(?:###[ \t]*|\[|<\|?)(human|assistant|system|moss|bot)(?:\]|\|?>)?[ \t]*:[ \t]*",
    re.I,
)
_CHATML = re.compile(r"<\|im_start\|>\s*(\w+)\n(.*?)(?:<\|im_end\|>|$)", re.S)
# Rows that a template has been put on already: Llama 3, Gemma, Zephyr, Phi and GLM.
_HEADED = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>(.*?)(?=<\|eot_id\|>|<\|start_header_id\|>|$)", re.S
)
_DEEPSEEK = re.compile(r"<｜(User|Assistant)｜>(.*?)(?=<｜(?:User|Assistant|end▁of▁sentence)｜>|$)", re.S)
# Marks in capitals or in angle brackets, which tell turns apart within a line too (Vicuna, RefGPT).
_INLINE = (
    ("ASSISTANT:", re.compile(r"\b(USER|ASSISTANT):(.*?)(?=\b(?:USER|ASSISTANT):|$)", re.S)),
    ("<assistant>", re.compile(r"<(user|assistant)>\s?[:：]?(.*?)(?=<(?:user|assistant)>|$)", re.S)),
)
_GEMMA = re.compile(r"<start_of_turn>(\w+)\n(.*?)(?=<end_of_turn>|<start_of_turn>|$)", re.S)
_TAGGED = re.compile(r"<\|(system|user|assistant)\|>(.*?)(?=<\|(?:system|user|assistant|end)\|>|$)", re.S)
_FOREWORD = 400  # characters that may stand before the first turn
_ENDS = ("<|endoftext|>", "<eoh>", "<eoa>", "<eom>", "<eoc>", "<eor>", "</s>")


def turns_of(raw: list[Any], images: list[str]) -> list[Message]:
    """A list of turns as messages; what it shows is added to `images`. Raises Unusable."""
    messages: list[Message] = []
    if raw and all(isinstance(one, str) for one in raw):
        for match, text in zip(speakers(raw), raw, strict=False):
            _add(messages, {"role": match[1], "content": text[match.end() :]}, images)
        if messages:
            return messages
        return [message(("user", "assistant")[number % 2], text) for number, text in enumerate(raw)]
    for one in harmony.heard(raw) if harmony.is_heard(raw) else raw:
        if type(one) is dict:
            # The usual turn, at a glance.
            named = one.get("role") or one.get("from")
            role = _USUAL.get(named) if type(named) is str and len(one) < 4 else None
            if role and _MORE.isdisjoint(one):
                text = one.get("content")
                if text is None:
                    text = one.get("value")
                if type(text) is str and not (
                    "<" in text and (_CALL.search(text) if role == "assistant" else "<img>" in text)
                ):
                    messages.append({"role": role, "content": text})
                    continue
        _add(messages, one, images)
    if any(one["role"] == "system" for one in messages[1:][-2:]) and not any(
        one["role"] == "assistant" for one in messages
    ):
        # Who answers is called the system (MultiWOZ).
        messages[1:] = [{**one, "role": "assistant"} if one["role"] == "system" else one for one in messages[1:]]
    return messages


def by_columns(value: Any) -> list[dict[str, Any]] | None:
    """Turns that stand by columns, {"from": […], "value": […]}, as lists of objects are kept in Parquet; or None."""
    if not isinstance(value, dict) or not value or not all(isinstance(one, list) for one in value.values()):
        return None
    if len(set(map(len, value.values()))) > 1 or not any(value.get(key) for key in _WHO):
        return None
    return [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]


def speakers(texts: list[str]) -> list[re.Match[str]]:
    """Where each text names its speaker (HuatuoGPT, MedDialog); nothing where one does not."""
    found = [match for text in texts if (match := _SPEAKER.match(text)) and match[1].lower() in words.ROLES]
    return found if len(found) == len(texts) else []


def plain_talk(raw: Any) -> list[Message] | None:
    """The commonest conversation of all, quickly: what `turns_of` and `rows.ordered` make of it. None for any other.

    Perhaps a system message, then user and assistant in turn, each with a role and a text and nothing else.
    """
    messages: list[Message] = []
    if type(raw) is not list:
        return None
    wanted, asked, text = "user", "", ""
    for one in raw:
        if type(one) is not dict or len(one) != 2:
            return None
        asked = text
        try:
            role, text = _USUAL[one["role"]], one["content"]
        except (KeyError, TypeError):
            try:
                role, text = _USUAL[one["from"]], one["value"]
            except (KeyError, TypeError):
                return None
        if type(text) is not str or not text or text.isspace():
            return None
        if role == wanted:
            wanted = "assistant" if role == "user" else "user"
        elif role != "system" or messages or "[{" in text:  # that may be tools
            return None
        if "<" in text and (_CALL.search(text) if role == "assistant" else "<img>" in text):
            return None
        messages.append({"role": role, "content": text})
    if wanted != "user" or len(messages) < 2:
        return None
    same = (text[0] == asked[0] or text[0].isspace() or asked[0].isspace()) and text.strip() == asked.strip()
    return None if same else messages


_SPEAKER = re.compile(r"\s*(\w{1,12})\s*[：:]\s*")
# Which answers are learned, in OpenAI's, ms-swift's and axolotl's words.
_LEARNED = ("weight", "loss", "train", "training")
# What a turn may hold beside a text.
_WHO = ("role", "from", "speaker", "sender", "type", "角色")
_SAID = ("content", "value", "text", "message", "parts", "utterance", "sentence", "内容")
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
_MORE = {"tool_calls", "function_call", "images", *_THOUGHTS, *_LEARNED}
_USUAL = {name: words.ROLES[name] for name in ("user", "human", "assistant", "gpt", "system")}


def _add(messages: list[Message], raw: Any, images: list[str]) -> None:
    """One turn, whatever its kind, behind the messages before it."""
    if isinstance(raw, list) and len(raw) == 2 and all(isinstance(part, str) for part in raw):
        messages += [message("user", raw[0]), message("assistant", raw[1])]
        return
    if not isinstance(raw, dict):
        raise Unusable("not_a_turn")
    named = next((raw[key] for key in _WHO if raw.get(key)), None)
    if named is None and (pair := _pair(raw)):
        if not messages and isinstance(raw.get("system"), str):  # XTuner
            messages.append(message("system", raw["system"]))
        messages += [message("user", text_of(pair[0])), message("assistant", text_of(pair[1]))]
        return
    role = words.ROLES.get(named.strip().lower()) if isinstance(named, str) else None
    if role is None:
        raise Unusable("unknown_role")
    value = next((raw[key] for key in _SAID if raw.get(key) is not None), None)
    if role == "call":
        said = text_of(value) if _is_text(value) else ""
        messages.append(message("assistant", "", calls_of(_quoted(_from_bracket(said)) if said else value)))
        _weigh(messages[-1], raw)
        return
    if role == "tool":
        messages.append(message("tool", _result(value)))
        return
    calls = raw.get("tool_calls")
    if calls is None and raw.get("function_call"):
        calls = [raw["function_call"]]
    if isinstance(value, list):
        text, used, results = _blocks(value, images)
        if role == "user" and results:  # Anthropic hands results back in the user's turn
            messages += [message("tool", result) for result in results]
            if text.strip():
                messages[-1]["content"] += "\n" + text
            return
        calls = [*(calls or []), *used]
    else:
        text = text_of(value)
        images += named_images(raw.get("images"))
    if role == "user":
        text = taken_out(text, images)
    if role == "assistant" and not calls and (found := list(_CALL.finditer(text))):
        calls = [call for one in found for call in calls_of(_quoted(one[2].strip()))]
        text = _CALL.sub("", text).strip()
    thought = next((raw[word] for word in _THOUGHTS if raw.get(word)), None)
    if role == "assistant" and is_thought(thought):
        text = with_thought(str(thought), text)
    messages.append(message(role, text, calls_of(calls) if calls and role == "assistant" else None))
    _weigh(messages[-1], raw)


def is_thought(value: Any) -> bool:
    """Whether this is what somebody thought, and not only whether they did (on, off)."""
    return isinstance(value, str) and bool(value.strip()) and value.strip().lower() not in _FLAGS


_FLAGS = ("on", "off", "yes", "no", "true", "false", "none", "low", "medium", "high", "0", "1", "是", "否")


def with_thought(thought: str, text: str) -> str:
    """An answer with the thought before it, as DeepSeek and Qwen write it."""
    return text if "<think>" in text else f"<think>\n{thought.strip()}\n</think>\n\n{text}"


def _weigh(one: Message, raw: Mapping[str, Any]) -> None:
    """An answer that is not to be learned keeps the mark."""
    if one["role"] == "assistant" and any(raw.get(word) in (0, False) for word in _LEARNED):
        one["weight"] = 0


def _pair(raw: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """A question and its answer in one turn."""
    lowered = {str(key).lower(): key for key in raw}
    asked = next((lowered[word] for word in _ASKING if word in lowered), None)
    said = next((lowered[word] for word in _ANSWERING if word in lowered), None)
    return (raw[asked], raw[said]) if asked is not None and said is not None else None


def _result(value: Any) -> str:
    """What a tool answered, as text."""
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return text_of(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    text = text_of(value)
    bare = text.strip()
    if bare.startswith("<tool_response>") and bare.endswith("</tool_response>"):
        return bare.removeprefix("<tool_response>").removesuffix("</tool_response>").strip()
    return text


def _blocks(value: list[Any], images: list[str]) -> tuple[str, list[Any], list[str]]:
    """The text of a message in parts, its tool calls and its tool results. An image leaves `<image>` in its place."""
    text, thought, calls, results = "", "", [], []
    for part in value:
        if isinstance(part, str):
            text += part
            continue
        if not isinstance(part, dict):
            raise Unusable("not_text")
        kind = part.get("type") or ("image" if "image" in part else "text" if "text" in part else None)
        if kind in ("text", "input_text", "output_text"):
            text += text_of(part.get("text"))
        elif kind in ("image", "image_url", "input_image"):
            text += IMAGE
            # {"type": "image"} alone stands for the next of the row's images
            images += named_images(part.get("image_url") or part.get("image") or part.get("source") or part.get("url"))
        elif kind == "tool_use":
            calls.append({"name": part.get("name"), "arguments": part.get("input")})
        elif kind == "tool_result":
            results.append(_result(part.get("content")))
        elif kind == "thinking":
            thought += text_of(part.get("thinking"))
        elif called := part.get("functionCall") or part.get("function_call"):  # Gemini
            calls.append(called)
        elif answered := part.get("functionResponse") or part.get("function_response"):
            results.append(_result(answered.get("response") if isinstance(answered, dict) else answered))
        elif kind not in ("redacted_thinking", "reasoning"):
            raise Unusable("not_text")
    return with_thought(thought, text) if thought.strip() else text, calls, results


def _is_text(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value)


def _from_bracket(text: str) -> str:
    """A call without the words before it ("Calling tools:")."""
    starts = [place for mark in "[{" if (place := text.find(mark)) >= 0]
    return text[min(starts) :] if starts else text


def _quoted(text: str) -> Any:
    """A call's JSON; some sets write it with Python's quotes."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    # glaive: {"name": "f", "arguments": '{"a": 1}'}
    inner = re.fullmatch(r"""\{\s*"name"\s*:\s*"([^"]*)"\s*,\s*"arguments"\s*:\s*'(.*)'\s*\}""", text, re.S)
    if inner:
        return {"name": inner[1], "arguments": inner[2].replace("\\'", "'")}
    return literal(text, "tool_call_unreadable")


_TEMPLATES = (
    ("<|im_start|>", _CHATML), ("<|start_header_id|>", _HEADED), ("<start_of_turn>", _GEMMA),
    ("<|assistant|>\n", _TAGGED), ("<｜Assistant｜>", _DEEPSEEK),
)  # fmt: skip


def transcript(text: Any) -> list[Message] | None:
    """A conversation written as one text; None for a text that is none: it needs two roles, and a user first."""
    if not isinstance(text, str):
        return None
    written = next((pattern for mark, pattern in _TEMPLATES if mark in text), None)
    if written is not None:
        found = written.findall(text)
        before = written.split(text, maxsplit=1)[0].rpartition("｜>")[2] if written is _DEEPSEEK else ""
        return _talk([("system", before), *found])
    if "[INST]" in text:
        return _llama(text)
    if (turns := harmony.written(text)) is not None:
        try:
            messages = turns_of(turns, [])
        except Unusable:
            return None
        return messages if {"user", "assistant"} <= {one["role"] for one in messages} else None
    inline = next((pattern for mark, pattern in _INLINE if mark in text), None)
    marks = list(_MARK.finditer(text)) if "<assistant>" not in text else []
    talk = None
    if len(marks) > 1 and len(text[: marks[0].start()].strip()) <= _FOREWORD:
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        talk = _talk([(mark[1] or mark[2], text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)])
    if talk is None and inline is not None:
        found = [(one[1], one[2]) for one in inline.finditer(text)]
        before = inline.split(text, maxsplit=1)[0].strip()
        talk = _talk([("system", before), *found]) if len(before) <= _FOREWORD else None
    return talk


def _talk(found: Iterable[tuple[str, str]]) -> list[Message] | None:
    """Who says what, as messages; None where nobody asks first, or nobody answers."""
    messages: list[Message] = []
    shown: list[str] = []
    for name, said in found:
        said, role = said.strip(), words.ROLES.get(name.lower())
        while said.endswith(_ENDS):
            said = said[: said.rindex("<")].rstrip()
        if name.lower() == "input" and messages:  # Alpaca's second half of the question
            messages[-1]["content"] += "\n" + said
        elif role == "tool":
            messages.append(message("tool", said))
        elif role in ("user", "assistant", "system"):
            try:
                if said or role != "system":
                    _add(messages, {"role": role, "content": said}, shown)
            except Unusable:  # what looks like a call is none
                return None
        else:
            return None
    roles = [one["role"] for one in messages]
    first = next((role for role in roles if role != "system"), None)
    return messages if first == "user" and "assistant" in roles and not shown else None


def _llama(text: str) -> list[Message] | None:
    messages: list[Message] = []
    for part in text.split("[INST]")[1:]:
        asked, _mark, answered = part.partition("[/INST]")
        if "<<SYS>>" in asked and "<</SYS>>" in asked:
            system, _mark, asked = asked.replace("<<SYS>>", "", 1).partition("<</SYS>>")
            messages.append(message("system", system.strip()))
        answered = answered.strip().removesuffix("<s>").strip().removesuffix("</s>")
        messages += [message("user", asked.strip()), message("assistant", answered.strip())]
    return messages or None
