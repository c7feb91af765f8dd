"""Both hubs' protocols on 127.0.0.1, with a CDN of another origin behind signed addresses, and with faults."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
MODEL = "owner/tiny"
_CHUNK = 64 * 1024


@dataclass
class Ask:
    """One request for a file's bytes. `number` counts those for this name from 0; `at`: "hub" or "cdn"."""

    at: str
    name: str
    number: int
    start: int
    end: int
    headers: dict[str, str]


@dataclass
class Do:
    """What goes wrong with the answer to one request; in bytes of its body where not said otherwise.

    status    answered instead, with `headers`
    cut       the connection ends after so many
    stall     nothing more comes after so many, until the hub closes
    trickle   bytes a second
    empty     the right headers but for a length of 0
    whole     the range is ignored
    flip      one bit of the file's byte at this place
    content   these are the file's bytes now
    endless   no length is told, and bytes come for ever after the right ones
    location  a redirect to there
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    trickle: float = 0.0
    empty: bool = False
    whole: bool = False
    flip: int | None = None
    content: bytes | None = None
    endless: bool = False
    location: str = ""


@dataclass
class Pushed:
    """A repository that was made here."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


class FakeHub:
    """`files` is what the hub has. Large ones (`_lfs`) come from the CDN. Faults:

    plan                 asked about every request for bytes; a Do says what goes wrong
    status, file_status  what every request, or a file's body only, is answered with
    flipped              names that are sent with one byte changed
    token                without it: 401
    listing_extra        names that are listed besides; `sizes`: listed sizes that are wrong; `no_sums`: no checksums
    flowing              while it is clear, weights stop halfway; `stalled` says that one did
    rate                 bytes a second of each connection
    hear                 told about every request at the hub: its path and headers

    What is pushed stands in `pushed`, by repository; once `cut_after` large files have come, `cut_uploads` are refused.
    """

    def __init__(self, files: dict[str, bytes], tls: ssl.SSLContext | None = None, cdn_tls: bool = True):
        self.files = files
        self.tls, self.cdn_tls = tls, cdn_tls
        self.status = 200
        self.file_status = 200
        self.flipped: set[str] = set()
        self.token = ""
        self.listing_extra: list[str] = []
        self.sizes: dict[str, int] = {}
        self.no_sums = False
        self.plan: Callable[[Ask], Do | None] = lambda _ask: None
        self.rate = 0.0
        self.hear: Callable[[str, dict[str, str]], None] = lambda _path, _headers: None
        self.sent: Counter[str] = Counter()
        self.bytes_sent: Counter[str] = Counter()
        self.asked: list[Ask] = []
        self.listings = 0
        self.pushed: dict[str, Pushed] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploads: list[int] = []  # sizes of the large files that came
        self.cut_uploads = self.cut_after = 0
        self.signed = 0  # addresses that were made
        self.valid_from = 0  # addresses made before that one have expired
        self.lock = threading.Lock()
        self.flowing = threading.Event()
        self.flowing.set()
        self.stalled = threading.Event()
        self.closed = threading.Event()
        self.server, self.address = self._serve("hub")
        self.cdn_server, self.cdn = self._serve("cdn")

    def _serve(self, at: str) -> tuple[ThreadingHTTPServer, str]:
        handler = type("Handler", (_Handler,), {"hub": self, "at": at})
        server = _Server(("127.0.0.1", 0), handler)
        tls = self.tls if at == "hub" or self.cdn_tls else None
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server, f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"

    def expire(self) -> None:
        """No address that was made so far is good any more."""
        self.valid_from = self.signed + 1

    def close_cdn(self) -> None:
        self.cdn_server.shutdown()
        self.cdn_server.server_close()

    def close(self) -> None:
        self.closed.set()
        self.flowing.set()
        for server in (self.server, self.cdn_server):
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # clients that were killed


def _lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".jsonl"))


@lru_cache(256)
def _sums(content: bytes) -> tuple[str, str]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return hashlib.sha256(content).hexdigest(), blob


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    at: str
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        self.receive()

    def do_PUT(self) -> None:
        self.receive()

    def receive(self) -> None:
        """Uploads, by either hub's protocol: a repository, its large files by their sha256, then a commit."""
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raw = self.chunks()
        hub.hear(self.path, dict(self.headers.items()))
        blob = re.fullmatch(r"/upload/([0-9a-f]{64})", path)
        if not blob:
            if hub.token and f"Bearer {hub.token}" != self.headers.get("Authorization"):
                return self.send(403, b'{"Code": 403, "Message": "read only"}', {}, True)
            answer = self.received(path, raw)
            return self.send(404 if answer is None else 200, json.dumps(answer or {}).encode(), {}, True)
        if hub.cut_uploads and len(hub.uploads) >= hub.cut_after:
            hub.cut_uploads -= 1
            return self.send(400, b"no", {}, True)
        assert hashlib.sha256(raw).hexdigest() == blob[1]
        hub.blobs[blob[1]] = raw
        hub.uploads.append(len(raw))
        return self.send(200, b"{}", {"ETag": '"x"'}, True)

    def chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def received(self, path: str, raw: bytes) -> Any:
        hub, modelscope = self.hub, path.startswith("/api/v1/")
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path in ("/api/repos/create", "/api/v1/models"):
            asked = json.loads(raw)
            name = f"{asked.get('organization') or asked.get('Path')}/{asked.get('name') or asked.get('Name')}"
            if name in hub.pushed:
                return {"Code": 10010205001, "Success": False, "Message": "it is there"}
            private = asked["Visibility"] == 1 if modelscope else asked["visibility"] == "private"
            hub.pushed[name] = Pushed(private, {"README.md": b"made here"})
            return {"Code": 200, "Success": True, "Data": {"Id": 1}, "url": f"{hub.address}/{name}"}
        owner, name, action = re.sub("^/(api/v1/repos/models/|api/models/|)", "", path).split("/", 2)
        repository = hub.pushed.get(f"{owner}/{name.removesuffix('.git')}")
        if repository is None:
            return None
        if action.startswith("preupload"):
            modes = {True: "lfs", False: "regular"}
            asked = json.loads(raw)["files"]
            return {"files": [{**one, "uploadMode": modes[_lfs(one["path"])], "shouldIgnore": False} for one in asked]}
        if action.startswith("info/lfs"):
            objects = json.loads(raw)["objects"]
            for one in objects:
                if one["oid"] not in hub.blobs:
                    one["actions"] = {"upload": {"href": f"{hub.cdn}/upload/{one['oid']}"}}
            answer = {"objects": objects, "transfer": "basic"}
            return {"Code": 200, "Success": True, "Data": answer} if modelscope else answer
        repository.commits += 1
        if modelscope:
            for one in json.loads(raw)["actions"]:
                large = one["type"] == "lfs"
                repository.files[one["path"]] = hub.blobs[one["sha256"]] if large else b64decode(one["content"])
            return {"Code": 200, "Success": True, "Data": {"oid": COMMIT}}
        for line in raw.splitlines():
            one = json.loads(line)
            if one["key"] in ("file", "lfsFile"):
                value = one["value"]
                content = b64decode(value["content"]) if one["key"] == "file" else hub.blobs[value["oid"]]
                repository.files[value["path"]] = content
        return {"commitUrl": f"{hub.address}/{owner}/{name}/commit/{COMMIT}", "commitOid": COMMIT}

    def answer(self, body: bool) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        hub = self.hub
        if self.at == "hub":
            hub.hear(self.path, dict(self.headers.items()))
        if self.at == "cdn":
            if int(query.get("signed", -1)) < hub.valid_from:
                return self.send(403, b"expired", {}, body)
            return self.file(path[1:], body)
        if hub.token and f"Bearer {hub.token}" != self.headers.get("Authorization"):
            return self.send(401, b'{"Code": 401, "Message": "login first"}', {}, body)
        if hub.status != 200:
            headers = {403: {"X-Error-Code": "GatedRepo"}, 404: {"X-Error-Code": "RepoNotFound"}}.get(hub.status, {})
            return self.send(hub.status, json.dumps({"Message": "no"}).encode(), headers, body)
        own = re.fullmatch(r"/api/(v1/)?models/([^/]+/[^/]+)(/repo/files)?", path)
        if own and own[2] in hub.pushed:
            answer = self.repository(own[2], bool(own[1]), bool(own[3]))
            return self.send(200, json.dumps(answer).encode(), {}, body)
        if re.fullmatch(rf"/api/(models|datasets)/{MODEL}(/revision/[^/]+)?", path):
            hub.listings += 1
            return self.send(200, json.dumps(self.huggingface_listing()).encode(), {}, body)
        if path in (f"/api/v1/models/{MODEL}/repo/files", f"/api/v1/datasets/{MODEL}/repo/tree"):
            hub.listings += 1
            return self.send(200, json.dumps(self.modelscope_listing()).encode(), {}, body)
        resolve = re.fullmatch(rf"(?:/datasets)?/{MODEL}/resolve/[^/]+/(.+)", path)
        name = (
            resolve[1]
            if resolve
            else query.get("FilePath", "")
            if re.fullmatch(rf"/api/v1/(models|datasets)/{MODEL}/repo", path)
            else ""
        )
        if name not in hub.files:
            return self.send(404, b'{"Message": "not found"}', {"X-Error-Code": "RepoNotFound"}, body)
        if hub.file_status != 200:
            return self.send(hub.file_status, b'{"Message": "no"}', {"X-Error-Code": "GatedRepo"}, body)
        if _lfs(name):
            with hub.lock:
                hub.signed += 1
                serial = hub.signed
            sha256, _blob = _sums(hub.files[name])
            headers = {
                "Location": f"{hub.cdn}/{quote(name)}?signed={serial}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{sha256}"',
                "X-Linked-Size": str(len(hub.files[name])),
            }
            return self.send(302, b"", headers, body)
        return self.file(name, body)

    def file(self, name: str, body: bool) -> None:
        hub, content = self.hub, self.hub.files[name]
        whole = self.headers.get("Range") is None
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        start = int(found[1]) if found else 0
        end = min(len(content), int(found[2]) + 1) if found and found[2] else len(content)
        do = Do()
        if body:
            with hub.lock:
                ask = Ask(self.at, name, hub.sent[name], start, end, dict(self.headers.items()))
                hub.sent[name] += 1
                hub.asked.append(ask)
                do = hub.plan(ask) or do
            if not hub.flowing.is_set() and _lfs(name):
                do = Do(stall=(end - start) // 2)
        if do.location:
            return self.send(302, b"", {"Location": do.location}, body)
        if do.status:
            return self.send(do.status, b"no", do.headers, body)
        if do.content is not None:
            content = do.content
            end = min(end, len(content))
        if name in hub.flipped:
            do.flip = len(content) - 1
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        asked = self.headers.get("If-Range")
        if whole or do.whole or (asked and asked != etag):
            status, start, end = 200, 0, len(content)
        else:
            status = 206
        headers = {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if status == 206:
            if start >= len(content):
                return self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"}, body)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self.send_response(status)
        for key, value in {**headers, **do.headers}.items():
            self.send_header(key, value)
        if do.endless:
            self.close_connection = True
        else:
            self.send_header("Content-Length", "0" if do.empty else str(end - start))
        self.end_headers()
        if body and not do.empty:
            self.body(name, content, start, end, do)
        return None

    def body(self, name: str, content: bytes, start: int, end: int, do: Do) -> None:
        hub, rate = self.hub, do.trickle or self.hub.rate
        stop = min((start + limit for limit in (do.cut, do.stall) if limit is not None), default=end)
        chunk = max(1, min(_CHUNK // 8, int(rate / 10))) if rate else _CHUNK
        view, place, due = memoryview(content), start, time.monotonic()
        while place < min(stop, end) and not hub.closed.is_set():
            piece = view[place : min(place + chunk, stop, end)]
            if do.flip is not None and place <= do.flip < place + len(piece):
                piece = memoryview(bytes(piece[: do.flip - place]) + bytes([piece[do.flip - place] ^ 1]))
            self.wfile.write(piece)
            place += len(piece)
            with hub.lock:
                hub.bytes_sent[name] += len(piece)
            if rate:
                due = max(due, time.monotonic() - 0.002) + len(piece) / rate
                time.sleep(max(0.0, due - time.monotonic()))
        while do.endless and not hub.closed.is_set():
            self.wfile.write(b"\0" * _CHUNK)
        if do.stall is not None:
            self.wfile.flush()
            hub.stalled.set()
            if hub.flowing.is_set():
                hub.closed.wait(30)
            else:
                hub.flowing.wait(30)
        if place < end:
            self.close_connection = True

    def send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def repository(self, name: str, modelscope: bool, files: bool) -> dict[str, Any]:
        one = self.hub.pushed[name]
        if modelscope and not files:
            return {"Code": 200, "Success": True, "Data": {"Name": name, "Visibility": 1 if one.private else 5}}
        listed = self.modelscope_listing(one.files) if modelscope else self.huggingface_listing(one.files)
        return listed if modelscope else {**listed, "id": name, "private": one.private}

    def huggingface_listing(self, files: dict[str, bytes] | None = None) -> dict[str, Any]:
        hub = self.hub
        siblings: list[dict[str, Any]] = [{"rfilename": name, "size": 1} for name in hub.listing_extra]
        for name, content in (hub.files if files is None else files).items():
            sha256, blob = _sums(content)
            size = hub.sizes.get(name, len(content))
            entry: dict[str, Any] = {"rfilename": name, "size": size}
            if not hub.no_sums:
                entry["blobId"] = blob
                if _lfs(name):
                    entry["lfs"] = {"size": size, "sha256": sha256, "pointerSize": 130}
            siblings.append(entry)
        return {"id": MODEL, "sha": COMMIT, "siblings": siblings}

    def modelscope_listing(self, pushed: dict[str, bytes] | None = None) -> dict[str, Any]:
        hub = self.hub
        files = [{"Path": name, "Type": "blob", "Size": 1} for name in hub.listing_extra]
        files += [
            {
                "Path": name,
                "Name": name.rsplit("/", 1)[-1],
                "Type": "blob",
                "Size": hub.sizes.get(name, len(content)),
                "Sha256": "" if hub.no_sums else _sums(content)[0],
                "Revision": COMMIT,
                "CommittedDate": 1_700_000_000,
            }
            for name, content in (hub.files if pushed is None else pushed).items()
        ]
        return {"Code": 200, "Success": True, "Data": {"Files": files}}
