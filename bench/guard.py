"""What the guard costs: the same server bare and with the guard in it, in turn, in one run.

Against a stub of an engine (it answers at once; or 40 events, 20 ms apart, to 1 and 64 clients) and against
`transformers serve` on a tiny model. nginx as a proxy with the same job stands beside them where it is installed.

Fails when the throughput is under 0.99 of the bare server's, or the median answer comes more than 0.3 ms later.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAIN = Path(os.environ.get("APPLIANCE_ENVS") or ROOT / ".envs") / "train" / "bin" / "python"
KEY = "sk-bench"
LEAST_THROUGHPUT, MOST_MS = 0.99, 0.3
QUESTIONS, ROUNDS = 400, 4
WARM, STREAMS = 20, 150
MESSAGES = [{"role": "user", "content": "How are you? " * 20}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(port: int, stream: bool, tokens: int) -> bytes:
    body = {"model": "bench", "messages": MESSAGES, "max_tokens": tokens, "temperature": 0, "stream": stream}
    raw = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


async def whole(wire: tuple[asyncio.StreamReader, asyncio.StreamWriter], asked: bytes) -> float:
    """Seconds to a whole answer, on a connection that stays."""
    reader, writer = wire
    began = time.perf_counter()
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return time.perf_counter() - began


async def streamed(port: int, asked: bytes) -> int:
    """Events of one stream, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    events, seen = 0, b""
    while not seen.endswith(b"0\r\n\r\n"):
        block = await reader.read(65536)
        assert block, seen
        events += block.count(b"data: ")
        seen = (seen + block)[-16:]
    writer.close()
    return events


async def latency(ports: dict[str, int]) -> dict[str, float]:
    """Median milliseconds of an answer; the servers are asked in turn, so that a busy moment meets them all."""
    wires = {name: await asyncio.open_connection("127.0.0.1", port) for name, port in ports.items()}
    taken: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(QUESTIONS):
        for name in sorted(ports, reverse=bool(number % 2)):
            taken[name].append(await whole(wires[name], request(ports[name], False, 4)))
    for _reader, writer in wires.values():
        writer.close()
    return {name: 1000 * statistics.median(values) for name, values in taken.items()}


async def one_after_another(ports: dict[str, int], tokens: int) -> dict[str, float]:
    """Events a second of a stream alone, by the median of many; the servers are asked in turn.

    A stream of a model this small is over in a moment: the first ones, in which a server warms up, don't count.
    """
    taken: dict[str, list[float]] = {name: [] for name in ports}
    events = 0
    for number in range(WARM + STREAMS):
        for name in sorted(ports, reverse=bool(number % 2)):
            began = time.perf_counter()
            events = await streamed(ports[name], request(ports[name], True, tokens))
            taken[name].append(time.perf_counter() - began)
    return {name: events / statistics.median(values[WARM:]) for name, values in taken.items()}


async def throughput(ports: dict[str, int], clients: int, tokens: int) -> dict[str, float]:
    """Events a second of `clients` at once; the best of several rounds in turn."""
    best = dict.fromkeys(ports, 0.0)
    for number in range(ROUNDS):
        for name in sorted(ports, reverse=bool(number % 2)):
            began = time.perf_counter()
            asked = request(ports[name], True, tokens)
            events = sum(await asyncio.gather(*(streamed(ports[name], asked) for _client in range(clients))))
            best[name] = max(best[name], events / (time.perf_counter() - began))
    return best


def nginx(folder: Path, behind: int) -> tuple[subprocess.Popen[bytes], int] | None:
    """nginx with a key, a list of routes and a limit on bodies, in front of the bare server."""
    program = shutil.which("nginx")
    if program is None:
        return None
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{ access_log off; client_max_body_size 8m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server 127.0.0.1:{behind}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port};
    location = /v1/chat/completions {{
      if ($http_authorization != "Bearer {KEY}") {{ return 401; }}
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
    location / {{ return 404; }}
  }}
}}"""
    )
    return subprocess.Popen([program, "-c", str(folder / "nginx.conf")]), port


def started(folder: Path, what: str, how: str, *more: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "APPLIANCE_GUARD": str(folder / "guard.json")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [str(TRAIN), "-P", str(ROOT / "bench" / "guard_server.py"), what, how, str(port), *more]
    child = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return child, port
        assert child.poll() is None, f"{what} {how} ended"
        time.sleep(0.1)


def show(title: str, unit: str, found: dict[str, float], digits: int) -> None:
    bare = found["bare"]
    told = "   ".join(f"{name} {value:.{digits}f} ({value / bare:.3f})" for name, value in found.items())
    print(f"  {title:<44} {told}   {unit}")


def main() -> int:
    """Print the table; exit 1 when the guard costs more than it may."""
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "key").write_text(KEY + "\n")
        (folder / "guard.json").write_text(json.dumps({"keys": str(folder / "key"), "names": ["bench"]}))
        try:
            ports: dict[str, int] = {}
            for how in ("bare", "guard"):
                child, ports[how] = started(folder, "stub", how)
                children.append(child)
            proxy = nginx(folder, ports["bare"])
            if proxy:
                children.append(proxy[0])
                ports["nginx"] = proxy[1]
                time.sleep(0.5)
            print("the same server bare, with the guard inside" + (", behind nginx" if proxy else ""))
            if not proxy:
                print("  (nginx is not installed: no proxy beside it)")
            late = asyncio.run(latency(ports))
            show("stub: an answer, 1 client", "ms", late, 3)
            added = late["guard"] - late["bare"]
            ratios = {}
            for clients in (1, 64):
                found = asyncio.run(throughput(ports, clients, 40))
                show(f"stub: {clients} streams of 40 events, 20 ms apart", "events/s", found, 1)
                ratios[f"stub, {clients}"] = found["guard"] / found["bare"]
            model = folder / "model"
            script = ROOT / "tests" / "engines" / "tiny_model.py"
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run([TRAIN, script, model], check=True, **quiet)  # type: ignore[call-overload]
            real: dict[str, int] = {}
            for how in ("bare", "guard"):
                child, real[how] = started(folder, "engine", how, str(model))
                children.append(child)
            alone = asyncio.run(one_after_another(real, 24))
            show("transformers: a stream of 24 tokens", "events/s", alone, 1)
            together = asyncio.run(throughput(real, 64, 24))
            show("transformers: 64 of them at once", "events/s", together, 1)
            ratios |= {
                f"transformers, {n}": found["guard"] / found["bare"] for n, found in ((1, alone), (64, together))
            }
        finally:
            for child in children:
                child.terminate()
                child.wait()
    print(f"added to the median answer: {added:.3f} ms (allowed {MOST_MS})")
    print(f"least throughput: {min(ratios.values()):.3f} of bare (allowed {LEAST_THROUGHPUT})")
    return 0 if added <= MOST_MS and min(ratios.values()) >= LEAST_THROUGHPUT else 1


if __name__ == "__main__":
    sys.exit(main())
