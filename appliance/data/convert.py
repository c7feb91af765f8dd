"""A raw row, whose layout is known, into the internal form (defined in `rows.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from appliance.data import spoken_calls, words
from appliance.data.rows import Message, Row, Unusable, calls_of, joined, listed, message, ordered, text_of, tools_of
from appliance.data.shown import IMAGE, named_images, show, taken_out
from appliance.data.turns import by_columns, is_thought, plain_talk, transcript, turns_of, with_thought


@dataclass(frozen=True)
class Layout:
    """Where a raw row keeps what: our words (`words.FIELDS`) to the row's own keys."""

    format: str
    task: str
    fields: Mapping[str, str]
    guessed: bool = False  # by content, because no header was known

    @cached_property
    def pair(self) -> tuple[str, str] | None:
        """The columns of a question and an answer, where there is nothing else."""
        if self.task != "sft" or set(self.fields) != {"question", "answer"}:
            return None
        return self.fields["question"], self.fields["answer"]

    @cached_property
    def talk(self) -> str | None:
        """The column of a conversation, where there is nothing else."""
        return self.fields["turns"] if self.task == "sft" and set(self.fields) == {"turns"} else None

    def heads(self, record: Mapping[str, Any]) -> bool:
        """Whether a row is only the columns' names once more, as where tables were joined."""
        return bool(self.fields) and all(record.get(name) == name for name in self.fields.values())

    def used(self) -> set[str]:
        """The row's keys that are read."""
        return set(self.fields.values())


Get = Callable[[str], Any]

# A prompt that ends where the assistant is to speak (HH-RLHF).
_OPEN = ("Assistant:", "助手：", "助手:")


def convert(record: Mapping[str, Any], layout: Layout) -> Row:
    """A raw row in the internal form. Raises Unusable with the reason."""
    fields = layout.fields
    if layout.pair:
        question, answer = record.get(layout.pair[0]), record.get(layout.pair[1])
        if type(question) is str and type(answer) is str and (plain := _plain(question, answer)) is not None:
            if question == layout.pair[0] and answer == layout.pair[1]:
                raise Unusable("header_again")
            return plain
    elif layout.talk and (talk := plain_talk(record.get(layout.talk))) is not None:
        return {"messages": talk}
    if layout.heads(record):
        raise Unusable("header_again")

    def get(word: str) -> Any:
        if word == "title":
            return next((record[name] for name in record if words.plain(name) in words.TITLES), None)
        value = record.get(fields[word]) if word in fields else None
        if word == "answer" and value in (None, "") and words.plain(fields.get(word, "")) == "solution":
            value = record.get("answer")  # not worked out
        if type(value) is list and word == "question" and words.plain(fields[word]) in words.DOCUMENTS:
            return read_with(value) if all(isinstance(one, str) for one in value) else value  # an article by sentences
        return value

    if layout.task == "pretrain":
        text = text_of(get("text"))
        if not text.strip():
            raise Unusable("empty_text")
        return {"text": text}
    images: list[str] = []
    tools = tools_of(get("tools"))
    extra: Row = {"tools": tools} if tools else {}
    if layout.task == "dpo":
        row: Row = {**_pair(get, images), **extra}
    else:
        messages = _asked(get, images)
        open_ = bool(messages) and messages[-1]["role"] in ("user", "tool")
        if "answer" in fields and (open_ or not _holds_turns(get("turns"))):
            messages += _answers(get("answer"), images, calls=bool(tools))
        if "thought" in fields and messages and messages[-1]["role"] == "assistant":
            thought = said(get("thought"))
            if is_thought(thought) and messages[-1]["content"].strip():
                messages[-1] = {**messages[-1], "content": with_thought(thought, messages[-1]["content"])}
        if _may_speak_calls(messages):
            messages, tools = spoken_calls.with_calls(messages, tools)
            extra = {"tools": tools} if tools else {}
        messages = ordered(messages)
        answer, before = messages[-1], messages[-2]
        repeats = before["role"] == "user" and answer["content"].strip() == before["content"].strip()
        if repeats and not answer.get("tool_calls"):
            raise Unusable("answer_equals_question")
        if layout.task == "sft":
            row = {"messages": messages, **extra}
        else:
            label = words.truth(get("label"))
            if label is None:
                raise Unusable("label_unreadable")
            row = {"prompt": messages[:-1], "completion": [answer], "label": label, **extra}
    if images or "images" in fields:
        show(row, images, get("images"))
    return row


def _may_speak_calls(messages: list[Message]) -> bool:
    """Whether calls may stand as text in this conversation, or the tools that it calls in its system message."""
    called = any("tool_calls" in one for one in messages)
    told = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    return ("{" if called else "[{") in told or (not called and any(one["role"] == "tool" for one in messages))


def _plain(question: str, answer: str) -> Row | None:
    """The commonest row of all, quickly; None for one that has to be looked at."""
    if not question or not answer or question.isspace() or answer.isspace() or question[:1] == "[" or answer[:1] == "[":
        return None
    if "<img>" in question:
        return None
    if len(question) == len(answer) and question == answer:
        return None
    if abs(len(question) - len(answer)) < 9 and question.strip() == answer.strip():
        return None
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def _holds_turns(value: Any) -> bool:
    return isinstance(value, dict) or listed(value) is not None or transcript(value) is not None


def _conversation(value: Any, images: list[str]) -> list[Message] | None:
    """Turns, however they are written; None where there are none."""
    if isinstance(value, list):
        return turns_of(value, images)
    if isinstance(value, dict):
        if "replies" in value:
            return turns_of(_thread(value), images)
        if (turns := by_columns(value)) is not None:
            return turns_of(turns, images)
        return [one for part in value.values() for one in _marked(part, images)] if value else None
    raw = listed(value)
    return turns_of(raw, images) if raw is not None else transcript(value)


def _marked(pair: Any, images: list[str]) -> list[Message]:
    """A pair of turns of which each names its speaker once more (MOSS); its inner thoughts are not for us."""
    spoken = [pair.get("Human"), pair.get("MOSS")] if isinstance(pair, dict) else []
    whole = "\n".join(text for text in spoken if isinstance(text, str))
    return transcript(whole) or turns_of([pair], images)


def _thread(tree: Mapping[str, Any]) -> list[Any]:
    """The first and best branch of a tree of turns (OpenAssistant)."""
    turns: list[Any] = []
    node: Any = tree
    while isinstance(node, dict):
        turns.append({"role": node.get("role"), "content": node.get("text", node.get("content"))})
        replies = [one for one in node.get("replies") or () if isinstance(one, dict)]
        node = min(replies, key=_rank, default=None)
    while turns and turns[-1]["role"] == "prompter":
        turns.pop()
    return turns


def _rank(node: Mapping[str, Any]) -> int:
    rank = node.get("rank")
    return rank if isinstance(rank, int) else 99


def _asked(get: Get, images: list[str]) -> list[Message]:
    """All that stands before the answer: system, history, question and input, or the turns as they are."""
    question, system = get("question"), text_of(get("system"))
    start = [message("system", system)] if system.strip() else []
    turns = get("turns")
    messages = _conversation(turns, images) if turns is not None else None
    if messages is None and isinstance(question, list) and not all(isinstance(one, (str, list)) for one in question):
        messages = turns_of(question, images)
    if messages is not None:
        if _is_above(question, turns):  # COIG: what is to be done stands above the pairs
            first = next(one for one in messages if one["role"] == "user")
            if question.strip() not in first["content"]:
                first["content"] = f"{question}\n{first['content']}".strip()
        # glaive's system prompt begins with its mark
        if start and start[0]["content"].startswith("SYSTEM:"):
            start[0]["content"] = start[0]["content"].removeprefix("SYSTEM:").strip()
        return messages if messages and messages[0]["role"] == "system" else start + messages
    if isinstance(question, str) and question.rstrip().endswith(_OPEN) and (talk := transcript(f"{question} .")):
        return start + talk[:-1]
    history = listed(get("history"))
    if history is None and text_of(get("history")).strip():
        raise Unusable("history_unreadable")
    try:
        start += turns_of([_as_texts(pair) for pair in history or ()], images)
    except Unusable as unusable:
        raise Unusable("history_unreadable" if unusable.reason == "not_a_turn" else unusable.reason) from None
    parts = [taken_out(part, images) for part in (said(question), read_with(get("input"))) if part.strip()]
    if not parts and (get("chosen") is not None or named_images(get("images"))):
        return start if get("chosen") is not None else [*start, message("user", IMAGE)]
    if not parts and said(title := get("title")).strip():  # what is asked stands in the title alone
        parts = [said(title)]
    if not parts:
        raise Unusable("empty_question")
    return [*start, message("user", "\n".join(parts))]


def _as_texts(pair: Any) -> Any:
    return [text_of(part) for part in pair] if isinstance(pair, list) and len(pair) == 2 else pair


def _is_above(question: Any, turns: Any) -> bool:
    """Whether a text stands above pairs of questions and answers, so that it belongs to the first of them."""
    pairs = (
        isinstance(turns, list) and bool(turns) and all(isinstance(one, dict) and "question" in one for one in turns)
    )
    return pairs and isinstance(question, str) and bool(question.strip())


def read_with(value: Any) -> str:
    """What is to be read with a question, as text: of several passages all, below their titles."""
    if isinstance(value, dict):
        texts, titles = value.get("sentences", value.get("contexts")), value.get("title")
        if isinstance(texts, list):  # HotpotQA, PubMedQA
            heads = titles if isinstance(titles, list) and len(titles) == len(texts) else [""] * len(texts)
            return "\n".join(
                part for head, text in zip(heads, texts, strict=True) for part in (head, _line(text)) if part
            )
    if isinstance(value, dict) and isinstance(value.get("passage_text"), list):  # MS MARCO
        value = value["passage_text"]
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return "\n".join(filter(None, map(_passage, value)))
    if isinstance(value, list) and value and all(isinstance(one, list) and len(one) == 2 for one in value):
        return "\n".join(f"{head}\n{_line(text)}" for head, text in value)  # 2Wiki
    return said(value)


def _passage(one: Mapping[str, Any]) -> str:
    """A passage below its title; "" for what is none."""
    text = next((one[key] for key in _PASSAGES if one.get(key)), "")
    title = one.get("title")
    head = f"{title}\n" if isinstance(title, str) and title.strip() else ""
    whole = "\n".join(text) if isinstance(text, list) and all(isinstance(part, str) for part in text) else text
    return f"{head}{whole}" if isinstance(whole, str) and whole else ""


_PASSAGES = ("text", "paragraph_text", "passage_text", "passage", "content", "contents", "paragraphs", "snippet")


def _line(sentences: Any) -> str:
    whole = isinstance(sentences, list) and all(isinstance(one, str) for one in sentences)
    return "".join(sentences) if whole else text_of(sentences)


def said(value: Any) -> str:
    """A question or an answer as text: of several ways to say it, the first."""
    while isinstance(value, list) and value and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):  # SQuAD as nested, VQA
        value = next((value[0][key] for key in _SAID if isinstance(value[0].get(key), str)), value)
    if isinstance(value, dict):  # SQuAD, DROP
        several = next((value[key] for key in ("text", "spans") if isinstance(value.get(key), list)), None)
        value = value if several is None else several[0] if several else ""
    if isinstance(value, dict):  # TriviaQA, WikiSQL
        names = ("value", "human_readable", "text")
        value = next((value[key] for key in names if isinstance(value.get(key), str)), value)
    return text_of(value)


_SAID = ("text", "answer", "answer_text")


def _answers(value: Any, images: list[str], calls: bool = False) -> list[Message]:
    """An answer as messages: text, one message, or several; with `calls`, perhaps tool calls as JSON."""
    if isinstance(value, dict) and ("role" in value or "from" in value):
        return turns_of([value], images)
    if calls and (isinstance(value, list) or (isinstance(value, str) and value.lstrip()[:2] in ("[{", '{"'))):
        try:
            return [message("assistant", "", calls_of(value))]
        except Unusable:
            pass  # a text that begins like JSON
    turns = listed(value)
    if turns and all(isinstance(one, dict) and ("role" in one or "from" in one) for one in turns):
        return turns_of(turns, images)
    parts = isinstance(value, list) and all(isinstance(one, dict) and one.get("type") == "text" for one in value)
    if isinstance(value, list) and not parts and not all(isinstance(one, (str, list)) for one in value):
        told = all(isinstance(one, dict) and not {"role", "from", "content"} & one.keys() for one in value)
        return [message("assistant", said(value))] if told else turns_of(value, images)
    return [message("assistant", said(value))]


def _pair(get: Get, images: list[str]) -> Row:
    """A preference pair. Without a prompt of its own, the prompt is what both conversations begin with."""
    chosen, rejected = get("chosen"), get("rejected")
    if chosen is None:  # the better answer stands where the only one would
        whole = _asked(get, images)
        if get("answer") is not None and whole and whole[-1]["role"] != "assistant":
            whole += _answers(get("answer"), images)
        prompt, good = whole[:-1], whole[-1:]
        bad = _answers(rejected, images)
        if len(bad) > len(prompt) and bad[: len(prompt)] == prompt:  # the whole conversation once more
            bad = bad[len(prompt) :]
    else:
        prompt = _asked(get, images)
        good, bad = _spoken(chosen, images), _spoken(rejected, images)
        if prompt and prompt[-1]["role"] == "assistant" and len(good) > 1:
            prompt = []  # the turns are the chosen conversation once more (UltraFeedback)
        if len(good) > len(prompt) and good[: len(prompt)] == prompt == bad[: len(prompt)]:
            good, bad = good[len(prompt) :], bad[len(prompt) :]
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        shared = 0
        while shared < min(len(good), len(bad)) - 1 and good[shared] == bad[shared]:
            shared += 1
        prompt, good, bad = prompt + good[:shared], good[shared:], bad[shared:]
    if not prompt or all(one["role"] == "system" for one in prompt):
        raise Unusable("empty_question")
    prompt, good, bad = joined(prompt), joined(good), joined(bad)
    ordered(prompt + good)
    ordered(prompt + bad)
    if good == bad:
        raise Unusable("chosen_equals_rejected")
    return {"prompt": prompt, "chosen": good, "rejected": bad}


def _spoken(value: Any, images: list[str]) -> list[Message]:
    """A side of a preference pair; a text may be a whole conversation (HH-RLHF)."""
    if isinstance(value, dict) and "role" not in value and "from" not in value:
        value = value.get("text", value)
    return (transcript(value) if isinstance(value, str) else None) or _answers(value, images)
