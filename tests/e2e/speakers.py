"""Applications that speak as those of machine learning do: token streams, big bodies, WebSocket, HTTP/2."""

from __future__ import annotations

import base64
import hashlib
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded

from tests.e2e.proxies import served

PATIENCE = 30.0  # seconds until a test gives up
CHUNK = b"\xa5" * 65536
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class _Web(BaseHTTPRequestHandler):
    """By path: `/tokens`, `/upload`, `/download/CHUNKS` and `/chat`; whatever else is greeted."""

    protocol_version = "HTTP/1.1"
    go_on: Event

    def do_GET(self) -> None:  # the name that http.server looks for
        if self.path == "/tokens":
            self._tokens()
        elif self.path == "/chat":
            self._chat()
        elif self.path.startswith("/download/"):
            count = int(self.path.rpartition("/")[2])
            self._head({"content-length": str(count * len(CHUNK))})
            for _ in range(count):
                self.wfile.write(CHUNK)
        else:
            self._head({"content-length": "2"})
            self.wfile.write(b"ok")

    def do_PUT(self) -> None:  # as above
        """Says what came: its length and SHA-256."""
        left, digest = int(self.headers["content-length"]), hashlib.sha256()
        while left and (data := self.rfile.read(min(left, 65536))):
            digest.update(data)
            left -= len(data)
        self._head({"content-length": "64"})
        self.wfile.write(digest.hexdigest().encode())

    def log_message(self, *_: Any) -> None:
        """Keep the terminal clean."""

    def _tokens(self) -> None:
        """Server-sent events: the second is made only when the test has seen the first."""
        self._head({"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        self._event(b"data: first\n\n")
        if self.go_on.wait(PATIENCE):
            self._event(b"data: second\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _chat(self) -> None:
        """A WebSocket whose frames are sent back as they are."""
        accept = base64.b64encode(hashlib.sha1(self.headers["sec-websocket-key"].encode() + _MAGIC).digest())  # noqa: S324
        self.send_response(101)
        for name, value in {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept}.items():
            self.send_header(name, value.decode() if isinstance(value, bytes) else value)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while data := self.connection.recv(4096):
            self.connection.sendall(data)

    def _head(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def web_app() -> Iterator[tuple[int, Event]]:
    """The application; yields its port and the event that lets the second token be made."""
    go_on = Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Web", (_Web,), {"go_on": go_on}))
    server.daemon_threads = True
    with served(server):
        yield int(server.server_address[1]), go_on


class _H2(socketserver.BaseRequestHandler):
    """HTTP/2 by prior knowledge (RFC 9113 section 3.3) and nothing else; answers each stream with its path."""

    def handle(self) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        self.request.sendall(connection.data_to_send())
        while data := self.request.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    path = dict(event.headers)[":path"]
                    connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                    connection.send_data(event.stream_id, path.encode(), end_stream=True)
            self.request.sendall(connection.data_to_send())


@contextmanager
def h2_app() -> Iterator[int]:
    """The application; yields its port."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _H2)
    server.daemon_threads = True
    with served(server):
        yield int(server.server_address[1])


def ask_h2(port: int, paths: list[str]) -> dict[str, tuple[int, bytes]]:
    """Status and body by path: all of them at once on one connection, each in a stream of its own."""
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    streams = {}
    for path in paths:
        number = connection.get_next_available_stream_id()
        head = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "registry")]
        connection.send_headers(number, head, end_stream=True)
        streams[number] = path
    status: dict[int, int] = {}
    bodies = dict.fromkeys(streams, b"")
    ended = 0
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
        raw.sendall(connection.data_to_send())
        while ended < len(streams):
            for event in connection.receive_data(raw.recv(65536)):
                if isinstance(event, ResponseReceived):
                    status[event.stream_id] = int(dict(event.headers)[":status"])
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                elif isinstance(event, StreamEnded):
                    ended += 1
            raw.sendall(connection.data_to_send())
    return {path: (status[number], bodies[number]) for number, path in streams.items()}
