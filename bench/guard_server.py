"""A server to measure, in the training environment: `guard_server.py stub|engine bare|guard PORT [MODEL]`.

stub    answers at once, or as a stream of 40 events, 20 ms apart: an engine that writes 50 tokens a second
engine  `transformers serve` with our answers, on the model in the folder MODEL
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import uvicorn

from appliance.engines.guard import Guard

EVENTS, PAUSE = 40, 0.02
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"token"}}]}\n\n'
WHOLE = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "token " * 40}}]}).encode()


async def stub(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    streams = b'"stream":true' in body.replace(b" ", b"")
    kind = b"text/event-stream" if streams else b"application/json"
    length = [] if streams else [(b"content-length", str(len(WHOLE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *length]})
    if streams:
        for _event in range(EVENTS):
            await asyncio.sleep(PAUSE)
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
    else:
        await send({"type": "http.response.body", "body": WHOLE})


def main() -> None:
    what, how, port = sys.argv[1:4]
    if what == "engine":
        from appliance.engines.transformers_server import build

        os.chdir(sys.argv[4])
        app = build("bench", "auto", None, {})
    else:
        app = stub
    uvicorn.run(Guard(app) if how == "guard" else app, port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
