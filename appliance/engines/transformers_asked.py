"""A checked request turned into what a generation needs: token numbers, limits, sampling, a grammar to keep to.

Runs in the training environment, inside transformers' server. The handlers of `transformers serve` ignore most of the
protocol (n, tool_choice, response_format, logprobs, penalties; a temperature where the model's own settings don't
sample; a length that is too much), so this reads the request in their place; see transformers_answers.py.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.engines.protocol import Refused

_SWITCHED_OFF = {"enable_thinking": False}
_CALL_MARK = "<tool_call>"


@dataclass
class Asked:
    """One prompt. `most`: new tokens at most; `top`: likely tokens to tell, None: none; `grammar`: llguidance's."""

    tokens: list[int]
    most: int
    sampling: Any
    adapter: str | None = None
    stops: list[str] = field(default_factory=list)
    seed: int | None = None
    top: int | None = None
    grammar: str | None = None
    made_call: bool = False  # the grammar is that of a call: what is written is one
    named: bool = False  # of the function that the client named
    tools: list[dict[str, Any]] | None = None
    penalties: tuple[float, float] = (0.0, 0.0)  # frequency, presence
    bias: dict[int, float] = field(default_factory=dict)


class Reader:
    """Reads requests for one model and its adapters. `length`: tokens of question and answer together."""

    def __init__(self, model: Any, tokenizer: Any, length: int | None, adapters: dict[str, Path], base: str):
        self.model, self.base = model, base
        self.tokenizers = {base: tokenizer, **{name: _own_tokenizer(at, tokenizer) for name, at in adapters.items()}}
        config = model.config.get_text_config()
        self.width = int(model.get_output_embeddings().weight.shape[0])
        known = [n for n in (length, getattr(config, "max_position_embeddings", None)) if n]
        self.length = min(known) if known else 2**31 - 1
        self._grammar_tokenizer: dict[str, Any] = {}

    def chat(self, body: dict[str, Any]) -> Asked:
        """Raises Refused."""
        tokenizer = self.tokenizers[body["model"]]
        choice = body.get("tool_choice") or "auto"
        tools = body.get("tools") if choice != "none" else None
        tools = tools or None
        must = choice == "required" or isinstance(choice, dict)
        form = (body.get("response_format") or {}).get("type", "text")
        switches = dict(body.get("chat_template_kwargs") or {})
        if body.get("reasoning_effort"):
            switches.setdefault("reasoning_effort", body["reasoning_effort"])
            if body["reasoning_effort"] == "none":
                switches.update(_SWITCHED_OFF)
        if must or form != "text":  # a grammar leaves no room for thoughts
            switches = {**switches, **_SWITCHED_OFF}
        try:
            text = tokenizer.apply_chat_template(
                [_message(message) for message in body["messages"]],
                tools=tools,
                add_generation_prompt=True,
                tokenize=False,
                **switches,
            )
        except Exception as error:  # a template is a program that refuses in its own words: roles that don't alternate
            told = f"The model's chat template refuses these messages: {str(error)[:300]}"
            raise Refused(400, told, "messages", "invalid_value") from error
        grammar = None
        if must:
            wanted = choice["function"]["name"] if isinstance(choice, dict) else None
            grammar = _calls([t for t in tools or [] if wanted in (None, t["function"]["name"])])
            if _CALL_MARK in tokenizer.get_vocab():  # so does the model begin a call
                text += _CALL_MARK + "\n"
        elif form != "text":
            described = body["response_format"].get("json_schema") or {"schema": {"type": "object"}}
            grammar = _held_to(described["schema"])
        tokens = tokenizer(text, add_special_tokens=False).input_ids
        wanted_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
        asked = self._asked(body, tokens, wanted_tokens, "messages")
        if body.get("logprobs"):
            asked.top = body.get("top_logprobs") or 0
        asked.grammar, asked.made_call, asked.tools = grammar, must, tools
        asked.named = isinstance(choice, dict)
        if grammar is not None:
            self._check_grammar(body["model"], grammar, "tools" if must else "response_format")
        return asked

    def completions(self, body: dict[str, Any]) -> list[Asked]:
        """One for each prompt. Raises Refused."""
        prompt = body["prompt"]
        prompts = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
        made = []
        for each in prompts:
            tokens = each if isinstance(each, list) else self.tokenizers[body["model"]](each).input_ids
            if any(token >= self.width for token in tokens):
                raise Refused(400, "prompt has a token number that this model doesn't know.", "prompt", "invalid_value")
            asked = self._asked(body, tokens, body.get("max_tokens") or 16, "prompt")
            asked.top = body.get("logprobs")
            made.append(asked)
        return made

    def _asked(self, body: dict[str, Any], tokens: list[int], wanted: int | None, param: str) -> Asked:
        room = self.length - len(tokens)
        if room < 1 or (wanted or 1) > room:
            told = (
                f"This model's maximum context length is {self.length} tokens. However, you requested "
                f"{len(tokens) + (wanted or 1)} tokens ({len(tokens)} in the {param}, {wanted or 1} in the completion)."
            )
            raise Refused(400, told, param, "context_length_exceeded")
        if not tokens:
            raise Refused(400, f"{param} must hold at least one token.", param, "invalid_value")
        stop = body.get("stop") or []
        return Asked(
            tokens=tokens,
            most=wanted or room,
            sampling=self._sampling(body, wanted or room),
            adapter=body["model"] if body["model"] != self.base else None,
            stops=[stop] if isinstance(stop, str) else stop,
            seed=body.get("seed"),
            penalties=(body.get("frequency_penalty") or 0.0, body.get("presence_penalty") or 0.0),
            bias={int(token): float(value) for token, value in (body.get("logit_bias") or {}).items()},
        )

    def _sampling(self, body: dict[str, Any], most: int) -> Any:
        """The model's own settings, and what was asked for in their place."""
        config = copy.deepcopy(self.model.generation_config)
        config.max_length, config.max_new_tokens, config.num_return_sequences = None, most, 1
        if body.get("temperature") is not None:
            config.do_sample = body["temperature"] > 0
            config.temperature = body["temperature"] or None
        elif body.get("top_p") is not None or body.get("top_k") is not None or body.get("min_p") is not None:
            config.do_sample = True
        for name in ("top_p", "min_p", "repetition_penalty"):
            if body.get(name) is not None:
                setattr(config, name, float(body[name]))
        if body.get("top_p") == 0:  # only the likeliest: transformers refuses 0
            config.do_sample, config.top_p = False, None
        if body.get("top_k") is not None:
            config.top_k = max(0, body["top_k"])
        if not config.do_sample:
            config.temperature = config.top_p = config.top_k = config.min_p = None
        if config.pad_token_id is None:
            ends = config.eos_token_id
            config.pad_token_id = ends[0] if isinstance(ends, list) else ends
        return config

    def ends(self) -> list[int]:
        """Token numbers that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return ends if isinstance(ends, list) else [] if ends is None else [ends]

    def matcher(self, name: str, grammar: str) -> Any:
        """llguidance's matcher, which says which token may come next."""
        import llguidance.hf
        from llguidance import LLMatcher

        if name not in self._grammar_tokenizer:
            ends = self.ends() or [self.tokenizers[name].eos_token_id]
            made = llguidance.hf.from_tokenizer(self.tokenizers[name], n_vocab=self.width, eos_token=ends)
            self._grammar_tokenizer[name] = made
        return LLMatcher(self._grammar_tokenizer[name], grammar, log_level=0)

    def _check_grammar(self, name: str, grammar: str, param: str) -> None:
        matcher = self.matcher(name, grammar)
        if matcher.is_error():
            raise Refused(
                400, f"{param} holds a schema that can't be kept: {matcher.get_error()[:300]}", param, "invalid_value"
            )


def _own_tokenizer(folder: Path, base: Any) -> Any:
    """An adapter's own tokenizer, which has the chat template that it was trained with."""
    if not (folder / "tokenizer_config.json").is_file():
        return base
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """As chat templates want it: text in one piece, arguments as an object, `developer` under its older name."""
    made = dict(message)
    if made["role"] == "developer":
        made["role"] = "system"
    if isinstance(made["content"], list):
        made["content"] = "".join(part["text"] for part in made["content"])
    if "tool_calls" in made:
        made["tool_calls"] = copy.deepcopy(made["tool_calls"])
        for call in made["tool_calls"]:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return made


def _held_to(schema: dict[str, Any]) -> str:
    return "start: %json " + json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}}) + "\n"


def _calls(tools: list[dict[str, Any]]) -> str:
    """{"name": …, "arguments": …} of one of these functions. A rule each: references within a schema stay its own."""
    lines = ["start: " + " | ".join(f"call_{number}" for number in range(len(tools)))]
    for number, tool in enumerate(tools):
        function = tool["function"]
        head = json.dumps(f'{{"name": "{function["name"]}", "arguments": ')
        # Without a word on it no other arguments: a model made to call would never end inventing some.
        schema = {"additionalProperties": False, **(function.get("parameters") or {"type": "object"})}
        schema.setdefault("type", "object")
        schema["x-guidance"] = {"whitespace_flexible": False}
        lines.append(f'call_{number}: {head} arguments_{number} "}}"')
        lines.append(f"arguments_{number}: %json {json.dumps(schema)}")
    return "\n".join(lines) + "\n"


def as_call(text: str) -> tuple[str, str] | None:
    """(name, arguments as JSON) of a call written by grammar; None while it is not whole."""
    try:
        value = json.loads(re.sub(r"\s*</tool_call>\s*$", "", text))
        return value["name"], json.dumps(value["arguments"], ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return None
