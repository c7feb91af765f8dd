"""Both hubs' protocols and a CDN that are not the limit: one thread a connection, bodies by sendfile.

    fast_hub.py FOLDER FIRST_BYTE_SECONDS BYTES_PER_SECOND

Serves the files of FOLDER as the model bench/model and prints its address. The kernel keeps each connection to the
rate (SO_MAX_PACING_RATE), 0 for none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

MODEL = "bench/model"
COMMIT = "c0ffee" + "0" * 34
_SO_MAX_PACING_RATE = 47


class Hub:
    """Two listening sockets: the hub, and the CDN that it sends to."""

    def __init__(self, folder: Path, first_byte: float, rate: int):
        self.folder, self.first_byte, self.rate = folder, first_byte, rate
        self.sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        self.sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        self.hub, self.cdn = _listen(), _listen()

    def serve(self) -> None:
        """Never returns."""
        threading.Thread(target=self._accept, args=(self.cdn, self._cdn), daemon=True).start()
        self._accept(self.hub, self._hub)

    def _accept(self, server: socket.socket, answer: Any) -> None:
        while True:
            connection, _address = server.accept()
            threading.Thread(target=self._talk, args=(connection, answer), daemon=True).start()

    def _talk(self, connection: socket.socket, answer: Any) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.rate:
            connection.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, self.rate)
        try:
            with connection, connection.makefile("rb") as stream:
                while line := stream.readline():
                    headers = {}
                    while (header := stream.readline().strip()) != b"":
                        name, _colon, value = header.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    method, path, _version = line.decode("latin-1").split()
                    time.sleep(self.first_byte)
                    answer(connection, method == "GET", urlsplit(path), headers)
        except OSError:
            return

    def _hub(self, connection: socket.socket, body: bool, url: Any, headers: dict[str, str]) -> None:
        path = unquote(url.path)
        if path.startswith(f"/api/models/{MODEL}/tree/"):
            return _reply(connection, body, json.dumps(self._huggingface_tree()).encode())
        if path.startswith(f"/api/models/{MODEL}"):
            return _reply(connection, body, json.dumps(self._huggingface()).encode())
        if path == f"/api/v1/models/{MODEL}/repo/files":
            return _reply(connection, body, json.dumps(self._modelscope()).encode())
        found = re.fullmatch(rf"/{MODEL}/resolve/[^/]+/(.+)", path)
        name = found[1] if found else parse_qs(url.query).get("FilePath", [""])[0]
        if name not in self.sums:
            return _reply(connection, body, b"{}", "404 Not Found")
        extra = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{self.sums[name]}"', "ETag": f'"{self.sums[name]}"'}
        if not name.endswith(".safetensors"):
            return self._file(connection, body, name, headers, extra)
        extra["X-Linked-Size"] = str(self.sizes[name])
        extra["Location"] = f"http://127.0.0.1:{self.cdn.getsockname()[1]}/{quote(name)}?signed=1"
        return _reply(connection, body, b"", "302 Found", extra)

    def _cdn(self, connection: socket.socket, body: bool, url: Any, headers: dict[str, str]) -> None:
        name = unquote(url.path)[1:]
        self._file(connection, body, name, headers, {"ETag": f'"{self.sums[name]}"'})

    def _file(
        self, connection: socket.socket, body: bool, name: str, headers: dict[str, str], extra: dict[str, str]
    ) -> None:
        size = self.sizes[name]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        start, end = (int(asked[1]), min(size, int(asked[2] or size - 1) + 1)) if asked else (0, size)
        extra = {**extra, "Accept-Ranges": "bytes"}
        if asked:
            extra["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        _head(connection, "206 Partial Content" if asked else "200 OK", end - start, extra)
        with (self.folder / name).open("rb") as file:
            while body and start < end:
                start += os.sendfile(connection.fileno(), file.fileno(), start, min(end - start, 4 << 20))

    def _huggingface(self) -> dict[str, Any]:
        siblings = [
            {"rfilename": name, "size": size, "lfs": {"size": size, "sha256": self.sums[name], "pointerSize": 130}}
            for name, size in self.sizes.items()
        ]
        return {"id": MODEL, "sha": COMMIT, "siblings": siblings}

    def _huggingface_tree(self) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": name,
                "size": size,
                "oid": "0" * 40,
                "lfs": {"size": size, "oid": self.sums[name], "pointerSize": 130},
            }
            for name, size in self.sizes.items()
        ]

    def _modelscope(self) -> dict[str, Any]:
        files = [
            {"Path": name, "Name": name, "Type": "blob", "Size": size, "Sha256": self.sums[name], "Revision": COMMIT}
            for name, size in self.sizes.items()
        ]
        return {"Code": 200, "Success": True, "Data": {"Files": files}}


def _listen() -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", 0))
    server.listen(256)
    return server


def _head(connection: socket.socket, status: str, length: int, extra: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *(f"{name}: {value}" for name, value in extra.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())


def _reply(
    connection: socket.socket, body: bool, content: bytes, status: str = "200 OK", extra: dict[str, str] | None = None
) -> None:
    _head(connection, status, len(content), extra or {})
    if body:
        connection.sendall(content)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    one = Hub(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    addresses = [f"http://127.0.0.1:{server.getsockname()[1]}" for server in (one.hub, one.cdn)]
    print(json.dumps({"hub": addresses[0], "cdn": addresses[1], "sha256": one.sums}), flush=True)
    one.serve()
