"""JSON over HTTP/1.1 on a Unix socket or a loopback port: what the scenario's services are served by."""

from __future__ import annotations

import json
import socketserver
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

MAX_BODY = 1 << 20

# Method, path, headers and JSON in; status and JSON out.
Answer = Callable[[str, str, Any, Any], tuple[int, Any]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    answer: Answer

    def _handle(self) -> None:
        size = min(int(self.headers.get("Content-Length") or 0), MAX_BODY)
        try:
            content = json.loads(self.rfile.read(size)) if size else None
        except ValueError:
            status, answer = 400, {"error": "this is not JSON"}
        else:
            status, answer = type(self).answer(self.command, self.path, self.headers, content)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """As any other."""
        self._handle()

    def do_POST(self) -> None:
        """As any other."""
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Errors only."""
        if args[1:2] and str(args[1]) >= "400":
            print(json.dumps({"answered": format % args}), file=sys.stderr, flush=True)

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "proxy"


class _OnSocket(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class _OnPort(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True


def serve(where: str, answer: Answer) -> socketserver.BaseServer:
    """A server on a Unix socket's path or on HOST:PORT that listens already; the caller runs it."""
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    if "/" in where:
        return _OnSocket(where, handler)
    host, _, port = where.rpartition(":")
    return _OnPort((host, int(port)), handler)
