"""One answer after the other with `model.generate`, on one thread; its text goes to the event loop piece by piece.

Not continuous batching: transformers 5.23 starts that loop with the first request's sampling settings and keeps them,
and its server passes a later request's temperature, seed and stop texts to nobody (measured: 16 answers at once come
six times sooner, and a `stop` is written over).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tokenizers.decoders import DecodeStream
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.cli.serving.utils import ReasoningText, ToolCall, build_response_parser, response_events_to_chunks

from appliance.engines.transformers_asked import Asked, Reader, as_call


@dataclass
class Piece:
    """What a step added. kind: content | reasoning | call (name, arguments); logprobs: of its tokens, if asked for."""

    kind: str
    text: str = ""
    name: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class End:
    """The last item. reason: stop | length | tool_calls"""

    reason: str
    tokens: int


class Generator:
    """The model and the one thread that may use it."""

    def __init__(self, model: Any, reader: Reader):
        self.model, self.reader = model, reader
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generate")

    async def answer(self, name: str, asked: Asked, index: int = 0) -> AsyncIterator[Piece | End]:
        """The pieces of answer number `index`, then its End. Left early, the generation ends at its next token."""
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Piece | End | BaseException] = asyncio.Queue()

        def put(item: Piece | End | BaseException) -> None:
            loop.call_soon_threadsafe(items.put_nowait, item)

        writer = _Writer(self, name, asked, put)
        self._thread.submit(writer.run, index)
        try:
            while True:
                item = await items.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, End):
                    return
        finally:
            writer.left = True


class _Writer(StoppingCriteria):  # type: ignore[misc]
    """One generation: takes each new token, makes text of it, finds the stop texts, decides when it ends."""

    def __init__(self, generator: Generator, name: str, asked: Asked, put: Any):
        self.model, self.reader, self.name = generator.model, generator.reader, name
        self.tokenizer = self.reader.tokenizers[name]
        self.asked, self.put_item = asked, put
        self.left = self.stopped = False
        self.count, self.last, self.held, self.unparsed, self.written = 0, -1, "", "", ""
        self.called = self.first = False
        self.recorder = _Recorder(self.tokenizer, asked.top) if asked.top is not None else None

    def run(self, index: int) -> None:
        """Generate. Everything that happens, an error too, goes to `put_item`."""
        if self.left:  # while it waited for its turn
            return
        try:
            self._generate(index)
        except Exception as error:
            self.put_item(error)

    def _generate(self, index: int) -> None:
        asked = self.asked
        seed = asked.seed + index if asked.seed is not None else random.getrandbits(63)
        torch.manual_seed(seed % 2**63)
        if self.model.__dict__.get("_hf_peft_config_loaded"):
            if asked.adapter:
                self.model.enable_adapters()
                self.model.set_adapter(asked.adapter)
            else:
                self.model.disable_adapters()
        prompt = torch.tensor([asked.tokens], device=self.model.device)
        self.parser = None
        if asked.grammar is None:
            self.parser = build_response_parser(self.tokenizer, self.model, prompt, tools=asked.tools)
        self.decoder = DecodeStream([], skip_special_tokens=self.parser is None)
        if self.parser is not None:
            self._tell(response_events_to_chunks(self.parser.initial_events))
        self.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=asked.sampling,
            logits_processor=LogitsProcessorList(self._processors(len(asked.tokens))),
            stopping_criteria=StoppingCriteriaList([self]),
            streamer=self,
        )
        if not self.left:
            self._finish()

    def _processors(self, start: int) -> list[Any]:
        asked = self.asked
        made: list[Any] = [self.recorder] if self.recorder else []
        if any(asked.penalties) or asked.bias:
            made.append(_Penalties(start, asked.penalties, asked.bias))
        if asked.grammar is not None:
            made.append(_Held(self.reader.matcher(self.name, asked.grammar), start))
        return made

    # --- what generate() calls -----------------------------------------------------------------------------------

    def put(self, value: Any) -> None:
        """The prompt first, then every new token; one more may come when the end was seen only here."""
        if not self.first:
            self.first = True
            return
        if self.stopped or self.left:
            return
        for token in value.tolist():
            self.count, self.last = self.count + 1, token
            text = self.decoder.step(self.tokenizer._tokenizer, token) or ""
            told = [self.recorder.entry(token)] if self.recorder else []
            self._write(text, told)

    def end(self) -> None:
        """Called when generate() ends; _finish does the rest."""

    def __call__(self, input_ids: Any, scores: Any, **_more: Any) -> Any:
        return torch.full((input_ids.shape[0],), self.left or self.stopped, device=input_ids.device, dtype=torch.bool)

    # --- text ----------------------------------------------------------------------------------------------------

    def _write(self, text: str, told: list[dict[str, Any]]) -> None:
        """Text up to a stop; what may be the beginning of one waits until it is decided."""
        self.held += text
        ready, cut = len(self.held), None
        for stop in self.asked.stops:
            at = self.held.find(stop)
            if at >= 0:
                cut = at if cut is None else min(cut, at)
            for size in range(min(len(stop) - 1, len(self.held)), 0, -1):
                if self.held.endswith(stop[:size]):
                    ready = min(ready, len(self.held) - size)
                    break
        if cut is not None:
            self.stopped, ready = True, cut
        text, self.held = self.held[:ready], self.held[ready:] if cut is None else ""
        self._parse(text, told)

    def _parse(self, text: str, told: list[dict[str, Any]]) -> None:
        self.written += text
        if self.asked.made_call:
            if told:
                self.put_item(Piece("content", logprobs=told))
        elif self.parser is None:
            if text or told:
                self.put_item(Piece("content", text, logprobs=told))
        else:
            self.unparsed += text
            try:
                chunks = response_events_to_chunks(self.parser.feed(text)) if text else []
            except Exception:  # a call that is none: shown as it was written
                self.parser, chunks = None, [self.unparsed]
            self._tell(chunks)
            if told:
                self.put_item(Piece("content", logprobs=told))

    def _tell(self, chunks: list[Any]) -> None:
        if chunks:
            self.unparsed = ""
        for chunk in chunks:
            if isinstance(chunk, ToolCall):
                self.called = True
                self.put_item(Piece("call", chunk.arguments, chunk.name))
            else:
                self.put_item(Piece("reasoning" if isinstance(chunk, ReasoningText) else "content", str(chunk)))

    def _finish(self) -> None:
        if self.held and not self.stopped:
            held, self.held = self.held, ""
            self._parse(held, [])
        if self.parser is not None:
            try:
                self._tell(response_events_to_chunks(self.parser.finalize()[1]))
            except Exception:  # cut off within a call
                self._tell([self.unparsed] if self.unparsed else [])
        if self.asked.made_call:
            call = as_call(self.written)
            self.called = call is not None
            self.put_item(Piece("call", call[1], call[0]) if call else Piece("content", self.written))
        whole = self.stopped or self.last in self.reader.ends()
        reason = "stop" if self.called or whole or self.count < self.asked.most else "length"
        if self.called and not self.asked.named:  # OpenAI says "stop" after a call that the client named
            reason = "tool_calls"
        self.put_item(End(reason, self.count))


class _Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps the probabilities before sampling; the first of our processors, so that it sees the model's own."""

    def __init__(self, tokenizer: Any, top: int):
        self.tokenizer, self.top = tokenizer, top
        self.now: Any = None

    def __call__(self, _input_ids: Any, scores: Any) -> Any:
        self.now = torch.log_softmax(scores[0].float(), dim=-1)
        return scores

    def entry(self, token: int) -> dict[str, Any]:
        """{token, logprob, bytes, top_logprobs} of the token that was taken."""
        best = torch.topk(self.now, self.top) if self.top else None
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best is not None else ()
        likely = [self._one(number, value) for number, value in pairs]
        return {**self._one(token, float(self.now[token])), "top_logprobs": likely}

    def _one(self, token: int, value: float) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        return {"token": text, "logprob": max(value, -9999.0), "bytes": list(text.encode())}


class _Penalties(LogitsProcessor):  # type: ignore[misc]
    """OpenAI's own formula: off for what the answer has already, by its count and for being there; and a bias."""

    def __init__(self, start: int, penalties: tuple[float, float], bias: dict[int, float]):
        self.start, self.penalties, self.bias = start, penalties, bias

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        frequency, presence = self.penalties
        counts = torch.bincount(input_ids[0, self.start :], minlength=scores.shape[-1])[: scores.shape[-1]]
        scores = scores - (frequency * counts + presence * (counts > 0)).to(scores.dtype)
        for token, value in self.bias.items():
            if token < scores.shape[-1]:
                scores[:, token] += value
        return scores


class _Held(LogitsProcessor):  # type: ignore[misc]
    """Lets only through what the grammar allows next."""

    def __init__(self, matcher: Any, start: int):
        self.matcher, self.start = matcher, start

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if input_ids.shape[1] > self.start:
            self.matcher.consume_token(int(input_ids[0, -1]))
        bits = np.unpackbits(np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = torch.zeros(scores.shape[-1], dtype=torch.bool)
        known = min(len(bits), scores.shape[-1])
        allowed[:known] = torch.from_numpy(bits[:known].astype(bool))
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))
