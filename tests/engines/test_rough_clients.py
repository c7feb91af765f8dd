"""Clients that cut, cancel, dribble and pipeline, many at once: no failure but those they made, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import time

import httpx2
import psutil
import pytest

CHAT = "/v1/chat/completions"
CLIENTS = 64


def head(server, length, key=None, path=CHAT):
    told = f"POST {path} HTTP/1.1\r\nhost: {server.host}\r\nauthorization: Bearer {key or server.key}\r\n"
    return (told + f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n").encode()


def body(tokens=4, stream=False, **more):
    asked = {"model": "my-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens, **more}
    return json.dumps({**asked, "stream": stream}).encode()


def well(server):
    return httpx2.get(f"{server.address}/health", trust_env=False, timeout=120).status_code == 200


def test_pipelined_requests_are_answered_in_turn(server):
    good, bad = body(), b"{"
    with socket.create_connection((server.host, server.port), timeout=60) as wire:
        wire.sendall(
            head(server, len(bad)) + bad + head(server, len(good)) + good + head(server, len(bad), "sk-wrong") + bad
        )
        seen = b""
        while seen.count(b"HTTP/1.1 ") < 3 or not seen.endswith(b"}"):
            block = wire.recv(65536)
            assert block, seen
            seen += block
    assert re.findall(rb"HTTP/1\.1 (\d+) ", seen) == [b"400", b"200", b"401"]
    assert well(server)


def test_two_lengths_and_smuggled_requests_open_nothing(server):
    inner = b"POST /load_model HTTP/1.1\r\nhost: x\r\n\r\n"
    for extra in (b"content-length: 4\r\n", b"transfer-encoding: chunked\r\n"):
        raw = head(server, 0).replace(b"\r\n\r\n", b"\r\n" + extra + b"\r\n") + inner
        with socket.create_connection((server.host, server.port), timeout=60) as wire:
            wire.sendall(raw)
            wire.shutdown(socket.SHUT_WR)
            seen = b"".join(iter(lambda wire=wire: wire.recv(65536), b""))
        assert b" 200 " not in seen, seen
    assert well(server)


def test_many_that_never_ask_keep_nobody_out(server):
    idle = [socket.create_connection((server.host, server.port)) for _each in range(200)]
    for number, wire in enumerate(idle):
        wire.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"[: number % 40])
    assert well(server)
    assert httpx2.get(f"{server.address}/v1/models", trust_env=False, timeout=120).status_code == 401
    for wire in idle:
        wire.close()


@pytest.mark.slow
def test_a_head_that_never_ends_is_given_up(server):
    with socket.create_connection((server.host, server.port), timeout=60) as wire:
        began = time.monotonic()
        wire.settimeout(0.5)
        closed = False
        while not closed and time.monotonic() - began < 60:
            try:
                wire.sendall(b"x: y\r\n" if time.monotonic() - began > 1 else b"GET /health HTTP/1.1\r\n")
                closed = wire.recv(4096) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed and well(server)


class Crowd:
    """64 clients for some seconds. `failures`: what went wrong that no client had done itself."""

    def __init__(self, server, seconds):
        self.server, self.until = server, time.monotonic() + seconds
        self.failures, self.whole, self.cut = [], 0, 0
        self.random = random.Random(1)

    async def run(self):
        await asyncio.gather(*(self.client() for _each in range(CLIENTS)))

    async def client(self):
        ways = [self.ask, self.ask, self.cut_stream, self.cut_stream, self.half, self.nothing, self.wrong, self.large]
        while time.monotonic() < self.until:
            await asyncio.sleep(self.random.random() * 0.2)
            try:
                await self.random.choice(ways)()
            except Exception as error:
                self.failures.append(repr(error))

    async def wire(self, raw):
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        writer.write(raw)
        await writer.drain()
        return reader, writer

    async def status(self, raw):
        reader, writer = await self.wire(raw)
        first = await asyncio.wait_for(reader.readline(), 120)
        rest = await asyncio.wait_for(reader.read(), 120) if b"connection: close" in raw.lower() else b""
        writer.close()
        return int(first.split()[1]), rest

    async def ask(self):
        asked = body(4)
        raw = head(self.server, len(asked)).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + asked
        status, rest = await self.status(raw)
        assert status == 200, status
        answer = json.loads(rest.split(b"\r\n\r\n", 1)[1])
        assert answer["usage"]["completion_tokens"] <= 4
        self.whole += 1

    async def cut_stream(self):
        asked = body(self.random.choice([4, 100]), stream=True, temperature=1)
        reader, writer = await self.wire(head(self.server, len(asked)) + asked)
        if self.random.random() < 0.7:
            try:
                await asyncio.wait_for(reader.read(self.random.randrange(1, 2000)), self.random.random())
            except TimeoutError:
                pass
        if self.random.random() < 0.5:
            writer.transport.abort()
        writer.close()
        self.cut += 1

    async def half(self):
        asked = head(self.server, 100) + body()
        _reader, writer = await self.wire(asked[: self.random.randrange(len(asked) - 60)])
        writer.close()

    async def nothing(self):
        _reader, writer = await self.wire(b"")
        writer.close()

    async def wrong(self):
        asked = body()
        status, _rest = await self.status(head(self.server, len(asked), "sk-wrong") + asked)
        assert status == 401, status

    async def large(self):
        status, _rest = await self.status(head(self.server, 10**9))
        assert status == 413, status


def crowd(server, seconds):
    """Run it; the resident memory before and after, MiB."""
    process = psutil.Process(server.pid)
    warm = Crowd(server, min(5.0, seconds / 4))
    asyncio.run(warm.run())
    before = process.memory_info().rss / 2**20
    now = Crowd(server, seconds)
    asyncio.run(now.run())
    assert not [*warm.failures, *now.failures][:5]
    assert now.whole > 10 and now.cut > 10
    end = time.monotonic() + 60
    while time.monotonic() < end:  # every cancelled answer has ended, every cut connection is gone
        open_now = [one for one in process.net_connections() if one.status == psutil.CONN_ESTABLISHED]
        if not open_now and process.cpu_percent(0.3) < 20:
            break
    else:
        raise AssertionError(open_now)
    after = process.memory_info().rss / 2**20
    assert after <= before * 1.05, (before, after)
    assert well(server)


@pytest.mark.parametrize("seconds", [60, pytest.param(900, marks=pytest.mark.long)])
def test_a_crowd_of_rough_clients(server, seconds):
    crowd(server, seconds)
