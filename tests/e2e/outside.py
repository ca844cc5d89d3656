"""The way out as a program sees it: CONNECT to the forward proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tunnel(port: int, authority: str) -> Iterator[tuple[socket.socket, int]]:
    """A CONNECT to the forward proxy at *port*: the socket and the status."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (data := raw.recv(1)):
            head += data
        yield raw, int(head.split()[1])
