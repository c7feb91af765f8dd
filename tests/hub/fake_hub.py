"""Both hubs' protocols on 127.0.0.1, as far as their official clients need them, with faults."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
MODEL = "owner/tiny"


class FakeHub:
    """`files` is what the hub has. Faults:

    status, file_status  what every request, or a file's body only, is answered with
    flipped              names that are sent with one byte changed
    token                without it: 401
    flowing              while it is clear, weights stop halfway; `stalled` says that one did
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.status = 200
        self.file_status = 200
        self.flipped: set[str] = set()
        self.token = ""
        self.listing_extra: list[str] = []
        self.sent: Counter[str] = Counter()
        self.flowing = threading.Event()
        self.flowing.set()
        self.stalled = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.flowing.set()
        self.server.shutdown()
        self.server.server_close()


def _lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        hub = self.hub
        if hub.token and f"Bearer {hub.token}" != self.headers.get("Authorization"):
            return self.send(401, b'{"Code": 401, "Message": "login first"}', {}, body)
        if hub.status != 200:
            headers = {403: {"X-Error-Code": "GatedRepo"}, 404: {"X-Error-Code": "RepoNotFound"}}.get(hub.status, {})
            return self.send(hub.status, json.dumps({"Message": "no"}).encode(), headers, body)
        if re.fullmatch(rf"/api/models/{MODEL}(/revision/[^/]+)?", path):
            return self.send(200, json.dumps(self.huggingface_listing()).encode(), {}, body)
        if path == f"/api/v1/models/{MODEL}/repo/files":
            return self.send(200, json.dumps(self.modelscope_listing()).encode(), {}, body)
        resolve = re.fullmatch(rf"/{MODEL}/resolve/[^/]+/(.+)", path)
        name = resolve[1] if resolve else query.get("FilePath", "") if path == f"/api/v1/models/{MODEL}/repo" else ""
        if name not in hub.files:
            return self.send(404, b'{"Message": "not found"}', {"X-Error-Code": "RepoNotFound"}, body)
        return self.file(name, body)

    def file(self, name: str, body: bool) -> None:
        hub, content = self.hub, self.hub.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if _lfs(name):
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            headers["X-Linked-Size"] = str(len(content))
        if hub.file_status != 200:
            return self.send(hub.file_status, b'{"Message": "no"}', {"X-Error-Code": "GatedRepo"}, body)
        if body:
            hub.sent[name] += 1
            if name in hub.flipped:
                headers.pop("X-Linked-Etag", None)
                content = content[:-1] + bytes([content[-1] ^ 1])
            if not hub.flowing.is_set() and _lfs(name):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                hub.stalled.set()
                hub.flowing.wait(30)
                self.close_connection = True
                return None
        return self.send(200, content, headers, body)

    def send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def huggingface_listing(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = [{"rfilename": name, "size": 1} for name in self.hub.listing_extra]
        for name, content in self.hub.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
            if _lfs(name):
                entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
            siblings.append(entry)
        return {"id": MODEL, "sha": COMMIT, "siblings": siblings}

    def modelscope_listing(self) -> dict[str, Any]:
        files = [{"Path": name, "Type": "blob", "Size": 1} for name in self.hub.listing_extra]
        files += [
            {
                "Path": name,
                "Name": name.rsplit("/", 1)[-1],
                "Type": "blob",
                "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest(),
                "Revision": COMMIT,
                "CommittedDate": 1_700_000_000,
            }
            for name, content in self.hub.files.items()
        ]
        return {"Code": 200, "Success": True, "Data": {"Files": files}}
