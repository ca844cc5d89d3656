"""A small model registry over HTTP/1.1: GET, HEAD and PUT of `/models/TEAM/NAME`, each model a file.

It knows nothing of identities: it listens on loopback in plain HTTP, and its proxy decides who gets here.
Environment: `PORT` (on 127.0.0.1), `MODELS` (the folder), `READY_FILE` (made once it listens; optional).
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_MODEL = 64 << 20
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_PATH = re.compile(rf"/models/({_NAME})/({_NAME})")

# What is published before anybody trains: how to fine-tune, and a model of the other team.
SEEDS: dict[str, dict[str, Any]] = {
    "shared/base": {"hidden": 16, "learning_rate": 0.05, "epochs": 60},
    "team-b/notes": {"about": "team-b's own model"},
}


class RegistryHandler(BaseHTTPRequestHandler):
    """Serves one folder; a path that is not exactly `/models/TEAM/NAME` is not found."""

    protocol_version = "HTTP/1.1"
    server_version = "registry"
    sys_version = ""
    wbufsize = -1  # head and body leave together, so that no delayed ACK comes in between
    disable_nagle_algorithm = True

    def __init__(self, *arguments: Any, folder: Path) -> None:
        self._folder = folder
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """The model, or 404."""
        self._read(body=True)

    def do_HEAD(self) -> None:
        """As GET, without the model."""
        self._read(body=False)

    def do_PUT(self) -> None:
        """Store the body under that name, whole or not at all."""
        size = self.headers.get("Content-Length", "")
        if not size.isascii() or not size.isdigit() or int(size) > MAX_MODEL:
            self.close_connection = True
            self._answer(HTTPStatus.LENGTH_REQUIRED if not size else HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        content, path = self.rfile.read(int(size)), self._file()
        if path is None:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        store(path, content)
        self._answer(HTTPStatus.CREATED)

    def _read(self, *, body: bool) -> None:
        path = self._file()
        if path is None or not path.is_file():
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, path.read_bytes(), body=body)

    def _file(self) -> Path | None:
        found = _PATH.fullmatch(self.path.partition("?")[0])
        return self._folder / found[1] / found[2] if found else None

    def _answer(self, status: HTTPStatus, content: bytes = b"", *, body: bool = True) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """One JSON line a request, with the trace that it belongs to."""
        trace = self.headers.get("traceparent", "") if hasattr(self, "headers") else ""
        print(json.dumps({"registry": format % args, "traceparent": trace}), file=sys.stderr, flush=True)


def store(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as new:
        new.write(content)
    Path(new.name).replace(path)


def seed(folder: Path, models: dict[str, dict[str, Any]]) -> None:
    """Publish *models* where they are not there yet."""
    for name, content in models.items():
        if not (folder / name).exists():
            store(folder / name, json.dumps(content).encode())


def serve(folder: Path, port: int, handler: type[RegistryHandler] = RegistryHandler) -> ThreadingHTTPServer:
    """A registry that listens on loopback; the caller runs and closes it."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(handler, folder=folder))
    server.daemon_threads = True
    return server


def main() -> None:
    """Serve until ended."""
    folder = Path(os.environ["MODELS"])
    seed(folder, SEEDS)
    with serve(folder, int(os.environ["PORT"])) as server:
        if ready := os.environ.get("READY_FILE"):
            Path(ready).touch()
        server.serve_forever()


if __name__ == "__main__":
    main()
