"""A hub on this machine's loopback that holds one model, for peers that read nothing but a hub.

The weights are a sparse file with a header: peers read names, shapes and types, never values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0" * 40


def safetensors_header(tensors: dict[str, tuple[int, ...]]) -> bytes:
    """The first bytes of a file of such tensors in BF16."""
    held: dict[str, object] = {}
    offset = 0
    for name, shape in tensors.items():
        size = 2
        for length in shape:
            size *= length
        held[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(held).encode()
    return len(text).to_bytes(8, "little") + text


@contextmanager
def serving(files: dict[str, bytes], sizes: dict[str, int]) -> Iterator[str]:
    """Serve the files of the repository `org/model`; gives the address. `sizes`: of what is longer than its bytes."""
    configuration = json.loads(files["config.json"])
    listing = [{"type": "file", "path": name, "size": sizes.get(name, len(content))} for name, content in files.items()]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if re.fullmatch(r"/api/models/org/model/tree/[^/]+", path):
                return self._send(json.dumps(listing).encode())
            if re.fullmatch(r"/api/models/org/model(/revision/[^/]+)?", path):
                siblings = [{"rfilename": name} for name in files]
                held = {"id": "org/model", "modelId": "org/model", "sha": COMMIT, "siblings": siblings}
                return self._send(json.dumps({**held, "config": configuration, "tags": [], "private": False}).encode())
            found = re.fullmatch(r"/org/model/resolve/[^/]+/(.+)", path)
            if found and found[1] in files:
                return self._send(files[found[1]])
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def _send(self, content: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, end = (int(asked[1]), min(int(asked[2]) + 1, len(content))) if asked else (0, len(content))
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", '"1"')
            self.send_header("X-Repo-Commit", COMMIT)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[start:end])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def cached(folder: Path, configuration: bytes) -> Path:
    """A Hugging Face cache that holds the configuration of `org/model`, for peers that read a cache offline."""
    repository = folder / "hub" / "models--org--model"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_bytes(configuration)
    return folder
