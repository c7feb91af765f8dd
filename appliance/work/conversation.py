"""A conversation in the form that a model's own chat template can write, and the places in it that are learned.

Templates differ in what they take: some want a call's arguments as text, some only one call at a time, some know no
system message, and many no tools at all. What the template can't write is rewritten here, losing nothing: calls one
after the other, a system message in front of the first question, tools and calls spelled out as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from appliance.data.shown import IMAGE
from appliance.errors import ApplianceError
from appliance.locale import _

Message = dict[str, Any]
_SHORTEST_TAIL = 4  # characters: shorter ones stand anywhere
_TELLING = re.compile(r"\w{2,24}")
_SPELLED = (
    "You may call these functions:\n<tools>\n{tools}\n</tools>\n\nTo call one, write its name and arguments as JSON:\n"
    '<tool_call>\n{{"name": "…", "arguments": {{…}}}}\n</tool_call>'
)


class Written:
    """A conversation as a template writes it: `messages` and `options` for apply_chat_template, and the `text`."""

    def __init__(
        self,
        tokenizer: Any,
        messages: list[Message],
        tools: list[dict[str, Any]] | None,
        *,
        pictures: bool = False,
    ):
        """`pictures`: `<image>` in the contents stands for a picture, for which the template writes its own sign."""
        self._tokenizer, self._pictures = tokenizer, pictures
        why = ""
        for candidate, listed in _ways(messages, tools or []):
            self.messages, self.options = candidate, {"tools": listed} if listed else {}
            try:
                self.text = self.part(len(candidate))
            except Exception as error:  # a template is a program of its own; it refuses in every way there is
                why = str(error).strip().split("\n")[0] or type(error).__name__
                continue
            lost = _lost(self.text, candidate, listed, pictures)
            if not lost:
                return
            why = _("it leaves out: {what}").format(what=lost)
        raise ApplianceError(
            _("This model's chat template can't write such a row."),
            why,
            _("Choose the instruct version of the model, or leave these rows out."),
        )

    def part(self, count: int, prompt: bool = False) -> str:
        """The text of the first messages; `prompt`: with what asks the assistant to speak."""
        return str(
            self._tokenizer.apply_chat_template(
                _seen(self.messages[:count]) if self._pictures else self.messages[:count],
                tokenize=False,
                add_generation_prompt=prompt,
                **self.options,
            )
        )

    def learned(self) -> list[tuple[int, int]]:
        """(begin, end) in the text of what the assistant says and is to be learned, its end-of-turn sign included.

        A turn is what it adds to the conversation before it. Some templates write an earlier turn differently once more
        follow (they drop its reasoning): then it is found by its end, which stays the same. Raises ApplianceError where
        no turn can be told apart.
        """
        special = tuple(self._tokenizer.all_special_tokens)
        places: list[tuple[int, int]] = []
        after = 0
        for index, message in enumerate(self.messages):
            if message["role"] != "assistant":
                continue
            before = self.part(index) if index else ""
            begin = _end_of(before, self.text, after, special)
            if begin is None:
                continue
            try:
                asked = self.part(index, prompt=True).removeprefix(before)
            except Exception:  # one that wants a question before it asks for an answer
                asked = ""
            begin += _common(asked, self.text[begin : begin + len(asked)])
            last = index == len(self.messages) - 1
            end = len(self.text) if last else _end_of(self.part(index + 1), self.text, begin, special)
            if end is None or end <= begin:
                continue
            said = self.text[begin:end].rstrip()
            if message.get("weight") != 0:
                places.append((begin, begin + len(said) if said.endswith(special) else end))
            after = end
        if not places:
            raise ApplianceError(
                _("This model's chat template can't be used for training."),
                _(
                    "It writes the same turn differently depending on what follows, so what to learn can't be told"
                    " apart."
                ),
                _("Choose the instruct version of the model, or put a newer chat_template.jinja into its folder."),
            )
        return places


def _ways(messages: list[Message], tools: list[dict[str, Any]]) -> Iterator[tuple[list[Message], list[dict[str, Any]]]]:
    """(messages, tools) in every form to try, the plainest first."""
    forms: list[tuple[list[Message], list[dict[str, Any]]]] = [(_linked(messages), tools)]
    if any(one.get("tool_calls") for one in messages):
        apart = _one_by_one(messages)
        forms += [(_with_text(_linked(messages)), tools), (_linked(apart), tools), (_with_text(_linked(apart)), tools)]
    if tools or any(one.get("tool_calls") for one in messages):
        forms.append((spelled_out(messages, tools), []))
    for form, listed in forms:
        without = [form]
        if form[0]["role"] == "system" and len(form) > 1 and form[1]["role"] == "user":
            without.append([{**form[1], "content": f"{form[0]['content']}\n\n{form[1]['content']}"}, *form[2:]])
        for one in without:
            yield one, listed
            yield _in_parts(one), listed


def _seen(messages: list[Message]) -> list[Message]:
    """Contents with pictures as lists of parts, a part for each picture and for the text between."""

    def parts(content: Any) -> Any:
        text = _text(content)
        if IMAGE not in text:
            return content
        pieces = text.split(IMAGE)
        made = [[{"type": "image"}, {"type": "text", "text": piece}] for piece in pieces[1:]]
        every = [{"type": "text", "text": pieces[0]}, *(part for pair in made for part in pair)]
        return [part for part in every if part.get("text", True)]

    return [{**one, "content": parts(one["content"])} for one in messages]


def _in_parts(messages: list[Message]) -> list[Message]:
    """Contents as lists of parts, which templates of models that see images want."""
    return [
        {**one, "content": [{"type": "text", "text": one["content"]}]} if isinstance(one["content"], str) else one
        for one in messages
    ]


def _linked(messages: list[Message]) -> list[Message]:
    """Calls with ids, and results with those and the tool's name: some templates insist. Nine letters fit all."""
    linked, waiting, count = [], [], 0
    for one in messages:
        if one.get("tool_calls"):
            calls = []
            for call in one["tool_calls"]:
                calls.append({"id": f"call{count:05d}", **call})
                count += 1
            waiting = [(call["id"], call["function"]["name"]) for call in calls]
            one = {**one, "tool_calls": calls}
        elif one["role"] == "tool" and waiting:
            known, name = waiting.pop(0)
            one = {**one, "tool_call_id": known, "name": name}
        linked.append(one)
    return linked


def _with_text(messages: list[Message]) -> list[Message]:
    """Arguments as JSON text, which templates that only join pieces want."""

    def changed(call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        text = _json(function["arguments"])
        return {**call, "function": {**function, "arguments": text}}

    return [
        {**one, "tool_calls": [changed(call) for call in one["tool_calls"]]} if one.get("tool_calls") else one
        for one in messages
    ]


def _one_by_one(messages: list[Message]) -> list[Message]:
    """Calls made at once as calls after each other, each before its own result; as they are where these don't match."""
    apart: list[Message] = []
    place = 0
    while place < len(messages):
        one = messages[place]
        calls = one.get("tool_calls") or []
        results = messages[place + 1 : place + 1 + len(calls)]
        if len(calls) > 1 and len(results) == len(calls) and all(result["role"] == "tool" for result in results):
            for number, (call, result) in enumerate(zip(calls, results, strict=True)):
                apart += [{**one, "content": "" if number else one["content"], "tool_calls": [call]}, result]
            place += 1 + len(calls)
        else:
            apart.append(one)
            place += 1
    return apart


def spelled_out(messages: list[Message], tools: list[dict[str, Any]]) -> list[Message]:
    """Tools, calls and results as text in the roles that every template knows."""
    spelled: list[Message] = []
    if tools:
        system = messages[0]["content"] if messages[0]["role"] == "system" else ""
        listed = "\n".join(_json(tool) for tool in tools)
        text = _SPELLED.format(tools=listed)
        spelled.append({"role": "system", "content": f"{system}\n\n{text}" if system else text})
    for one in messages[1:] if tools and messages[0]["role"] == "system" else messages:
        if one["role"] == "tool":
            text = f"<tool_response>\n{one['content']}\n</tool_response>"
            if spelled[-1].get("results"):
                spelled[-1]["content"] += "\n" + text
            else:
                spelled.append({"role": "user", "content": text, "results": True})
            continue
        calls = ["<tool_call>\n" + _json(call["function"]) + "\n</tool_call>" for call in one.get("tool_calls") or ()]
        text = "\n".join(filter(None, [one["content"], *calls]))
        spelled.append({**{key: one[key] for key in ("role", "weight") if key in one}, "content": text})
    return [{key: value for key, value in one.items() if key != "results"} for one in spelled]


def _lost(text: str, messages: list[Message], tools: list[dict[str, Any]], pictures: bool) -> str:
    """Something of the conversation that a template left out without a word, or ""."""
    for tool in tools:
        if tool["function"]["name"] not in text:
            return _("the tools")
    for one in messages:
        for call in one.get("tool_calls") or ():
            function = call["function"]
            if function["name"] not in text or _telling(_json(function["arguments"])) not in text:
                return _("tool calls")
        # Reasoning in earlier answers is left out on purpose.
        said = _text(one["content"])
        if one["role"] != "assistant" and _telling(said.replace(IMAGE, "\n") if pictures else said) not in text:
            return {"system": _("the system message"), "tool": _("tool results")}.get(one["role"], _("a question"))
    return ""


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)


def _telling(text: str) -> str:
    """The part of a text that stands in it unchanged however it is escaped, and hardly anywhere else."""
    return max(_TELLING.findall(text), key=len, default="")


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _end_of(part: str, whole: str, after: int, special: tuple[str, ...]) -> int | None:
    """Where in the whole text a part of it ends that may have been written differently at first; None: nowhere."""
    if whole.startswith(part):
        return len(part)
    same = _common(part, whole)
    while same and any(
        part.startswith(sign, same - back) for sign in special for back in range(1, len(sign)) if back <= same
    ):
        same -= 1  # the texts part within a sign
    rest = part[same:]
    for sign in special:
        rest = rest.replace(sign, "")
    if not rest.strip():  # only the sign at the end is another one
        return same
    # If a tail of the part stands in the text, every shorter tail does, so the longest is found by halving.
    low, high = same, len(part)
    while low < high:
        middle = (low + high) // 2
        if whole.find(part[middle:], after) >= 0:
            high = middle
        else:
            low = middle + 1
    tail = part[low:]
    return None if len(tail) < _SHORTEST_TAIL else whole.find(tail, after) + len(tail)
