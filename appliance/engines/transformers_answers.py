"""/v1/chat/completions and /v1/completions of the transformers server, in OpenAI's form, streaming and not.

`Answers.chat` and `.completions` are handlers as transformers' `build_server` calls them: `handle_request(body, id)`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi.responses import JSONResponse, StreamingResponse

from appliance.engines.protocol import Refused
from appliance.engines.transformers_asked import Asked
from appliance.engines.transformers_generate import End, Generator, Piece


class Handler:
    """One of the two routes."""

    def __init__(self, generator: Generator, chat: bool, reading: ThreadPoolExecutor):
        self.generator, self.reader, self.is_chat = generator, generator.reader, chat
        # One thread for both routes: a fast tokenizer can't be used from two at once.
        self._reading = reading

    async def handle_request(self, body: dict[str, Any], request_id: str) -> JSONResponse | StreamingResponse:
        """The answer; a refusal comes before the first byte of it."""
        loop = asyncio.get_running_loop()
        try:
            asked = await loop.run_in_executor(self._reading, self._read, body)
        except Refused as refused:
            return JSONResponse(refused.as_dict(), refused.status)
        # One after another: answer i of prompt p is choice p·n + i.
        wanted = [(one, index) for one in asked for index in range(body.get("n") or 1)]
        shape = _Shape(body, request_id, self.is_chat, sum(len(one.tokens) for one in asked))
        if body.get("stream"):
            return StreamingResponse(self._stream(body["model"], wanted, shape, body), media_type="text/event-stream")
        # Also sent as a stream: only so does the server notice a client that leaves, and the generation ends.
        return StreamingResponse(self._whole(body["model"], wanted, shape), media_type="application/json")

    def _read(self, body: dict[str, Any]) -> list[Asked]:
        return [self.reader.chat(body)] if self.is_chat else self.reader.completions(body)

    async def _stream(
        self, name: str, wanted: list[tuple[Asked, int]], shape: _Shape, body: dict[str, Any]
    ) -> AsyncIterator[str]:
        told_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        for number, (asked, index) in enumerate(wanted):
            if self.is_chat:
                yield shape.event(number, {"role": "assistant", "content": ""})
            calls = 0
            async for item in self.generator.answer(name, asked, index):
                if isinstance(item, End):
                    shape.made += item.tokens
                    yield shape.event(number, {}, reason=item.reason)
                else:
                    yield shape.event(number, shape.delta(item, calls), item)
                    calls += item.kind == "call"
        if told_usage:
            yield shape.line({"choices": [], "usage": shape.usage()})
        yield "data: [DONE]\n\n"

    async def _whole(self, name: str, wanted: list[tuple[Asked, int]], shape: _Shape) -> AsyncIterator[bytes]:
        choices = []
        for number, (asked, index) in enumerate(wanted):
            pieces: list[Piece] = []
            async for item in self.generator.answer(name, asked, index):
                if isinstance(item, End):
                    shape.made += item.tokens
                    choices.append(shape.choice(number, pieces, item.reason, asked.top is not None))
                else:
                    pieces.append(item)
        value = {**shape.head, "object": shape.kind, "choices": choices, "usage": shape.usage()}
        yield json.dumps(value, ensure_ascii=False).encode()


class _Shape:
    """OpenAI's objects for one request."""

    def __init__(self, body: dict[str, Any], request_id: str, chat: bool, prompt_tokens: int):
        self.is_chat, self.prompt_tokens, self.made = chat, prompt_tokens, 0
        self.kind = "chat.completion" if chat else "text_completion"
        self.wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        prefix = "chatcmpl-" if chat else "cmpl-"
        self.head = {"id": prefix + request_id[:64], "created": int(time.time()), "model": body["model"]}
        self.offset: dict[int, int] = {}

    def usage(self) -> dict[str, int]:
        total = self.prompt_tokens + self.made
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.made, "total_tokens": total}

    def line(self, value: dict[str, Any]) -> str:
        kind = "chat.completion.chunk" if self.is_chat else self.kind
        return "data: " + json.dumps({**self.head, "object": kind, **value}, ensure_ascii=False) + "\n\n"

    def event(self, number: int, delta: dict[str, Any], piece: Piece | None = None, reason: str | None = None) -> str:
        logprobs = self.logprobs(number, piece.logprobs) if piece and piece.logprobs else None
        choice = {"index": number, "logprobs": logprobs, "finish_reason": reason}
        choice |= {"delta": delta} if self.is_chat else {"text": delta.get("content", "")}
        return self.line({"choices": [choice]} | ({"usage": None} if self.wants_usage else {}))

    def delta(self, piece: Piece, calls: int) -> dict[str, Any]:
        if piece.kind == "call":
            return {"tool_calls": [{"index": calls, **self._call(piece, calls)}]}
        return {"reasoning_content" if piece.kind == "reasoning" else "content": piece.text}

    def choice(self, number: int, pieces: list[Piece], reason: str, told: bool) -> dict[str, Any]:
        content = "".join(piece.text for piece in pieces if piece.kind == "content")
        entries = [entry for piece in pieces for entry in piece.logprobs]
        choice: dict[str, Any] = {"index": number, "finish_reason": reason}
        choice["logprobs"] = self.logprobs(number, entries) if told else None
        if not self.is_chat:
            return {**choice, "text": content}
        calls = [self._call(piece, at) for at, piece in enumerate(p for p in pieces if p.kind == "call")]
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else "")}
        if thoughts := "".join(piece.text for piece in pieces if piece.kind == "reasoning"):
            message["reasoning_content"] = thoughts
        if calls:
            message["tool_calls"] = calls
        return {**choice, "message": message}

    def _call(self, piece: Piece, number: int) -> dict[str, Any]:
        function = {"name": piece.name, "arguments": piece.text}
        return {"id": f"call_{self.head['id'][-12:]}_{number}", "type": "function", "function": function}

    def logprobs(self, number: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
        if self.is_chat:
            return {"content": entries, "refusal": None}
        starts = []
        for entry in entries:
            starts.append(self.offset.setdefault(number, 0))
            self.offset[number] += len(entry["token"])
        return {
            "tokens": [entry["token"] for entry in entries],
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [
                {one["token"]: one["logprob"] for one in [*entry["top_logprobs"], entry]} for entry in entries
            ],
            "text_offset": starts,
        }
