"""A server on loopback that speaks the hub's protocol, and can be made to break it.

`Loopback(folder)` serves the files of a folder as the repository `org/model`; a second one may stand for the host to
which the hub redirects large files. `fault` sees every request before it is answered and may answer it itself.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40
CHUNK = 2**16


@dataclass
class Request:
    path: str
    query: dict[str, list[str]]
    range: tuple[int, int] | None
    authorization: str | None


@dataclass
class Loopback:
    folder: Path
    repository: str = "org/model"
    token: str | None = None
    page: int = 1000
    latency_s: float = 0.0
    elsewhere: Loopback | None = None
    """Where large files are redirected to."""
    large: int = 10_000
    fault: Callable[[Answer, Request], bool] | None = None
    listing: bytes | None = None
    """In place of the true list of files."""
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    tag: str = ""

    def __enter__(self) -> Loopback:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answer,), {"hub": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client went away
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self, nbytes: int) -> None:
        with self._lock:
            self.sent += nbytes

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def ranges(self) -> list[Request]:
        return [request for request in self.requests if "/resolve/" in request.path]

    def digest(self, path: Path) -> str:
        """What stands for the file's digest: hashing a sparse file of gigabytes would take minutes."""
        return sha256(f"{path.name}:{path.stat().st_size}".encode()).hexdigest()

    def entries(self) -> Iterator[dict[str, object]]:
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir():
                yield {"type": "directory", "oid": "d" * 40, "size": 0, "path": name}
                continue
            size = path.stat().st_size
            entry: dict[str, object] = {"type": "file", "oid": self.digest(path)[:40], "size": size, "path": name}
            if size > self.large:
                entry["lfs"] = {"oid": self.digest(path), "size": size, "pointerSize": 135}
            yield entry


class Answer(BaseHTTPRequestHandler):
    hub: Loopback
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        asked = (int(span[1]), int(span[2]) + 1) if span else None
        request = Request(unquote(parts.path), parse_qs(parts.query), asked, self.headers.get("Authorization"))
        self.hub.note(request)
        if self.hub.latency_s:
            time.sleep(self.hub.latency_s)
        try:
            if self.hub.fault is None or not self.hub.fault(self, request):
                self.answer(request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, request: Request) -> None:
        hub = self.hub
        if hub.token is not None and request.authorization != f"Bearer {hub.token}":
            self.error(401, "RepoNotFound")
        elif request.path == "/api/models":
            self.send(200, json.dumps([{"id": hub.repository}]).encode())
        elif request.path.startswith(f"/api/models/{hub.repository}/revision/"):
            if request.path.rpartition("/")[2] not in ("main", COMMIT):
                self.error(404, "RevisionNotFound")
            else:
                self.send(200, json.dumps({"id": hub.repository, "sha": COMMIT}).encode())
        elif request.path.startswith(f"/api/models/{hub.repository}/tree/{COMMIT}"):
            self.tree(request)
        elif request.path.startswith(f"/{hub.repository}/resolve/{COMMIT}/"):
            self.resolve(request)
        else:
            self.error(404, "RepoNotFound")

    def tree(self, request: Request) -> None:
        if self.hub.listing is not None:
            self.send(200, self.hub.listing)
            return
        entries = list(self.hub.entries())
        start = int(request.query.get("cursor", ["0"])[0])
        rest = entries[start + self.hub.page :]
        following = f"{self.hub.endpoint}{request.path}?recursive=true&cursor={start + self.hub.page}"
        headers = {"Link": f'<{following}>; rel="next"'} if rest else {}
        self.send(200, json.dumps(entries[start : start + self.hub.page]).encode(), headers)

    def resolve(self, request: Request) -> None:
        name = request.path.split(f"/resolve/{COMMIT}/", 1)[1]
        path = self.hub.folder / name
        size = path.stat().st_size
        headers = {"X-Repo-Commit": COMMIT}
        if size > self.hub.large and self.hub.elsewhere is not None:
            headers |= {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{self.hub.digest(path)}"'}
            self.send(302, b"", headers | {"Location": f"{self.hub.elsewhere.endpoint}{self.path}"})
            return
        self.part(path, request, headers)

    def part(self, path: Path, request: Request, headers: dict[str, str]) -> None:
        size = path.stat().st_size
        begin, end = request.range or (0, size)
        headers = headers | {"ETag": f'"{self.hub.tag or self.hub.digest(path)}"'}
        if begin >= size:
            self.send(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        end = min(end, size)
        if request.range:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self.begin(206 if request.range else 200, headers | {"Content-Length": str(end - begin)})
        with path.open("rb") as file:
            file.seek(begin)
            while begin < end:
                self.body(file.read(min(CHUNK, end - begin)))
                begin += CHUNK

    def error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.send(status, b"", {"X-Error-Code": code, **(headers or {})})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.begin(status, {**(headers or {}), "Content-Length": str(len(body))})
        self.body(body)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def body(self, data: bytes) -> None:
        self.hub.count(len(data))
        self.wfile.write(data)

    def cut(self) -> None:
        """Break the connection."""
        self.close_connection = True
