"""A name server of a few lines for tests: it answers with what a test says, and keeps what it was asked."""

from __future__ import annotations

import socketserver
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from tests.e2e.proxies import served

_TYPES = {4: 1, 6: 28}  # A (RFC 1035 section 3.2.2), AAAA (RFC 3596 section 2.1)
_TTL = 60
_NO_SUCH_NAME = 3


class Names:
    """Addresses by name, in lower case; `asked` are the names of all questions."""

    def __init__(self) -> None:
        self.port = 0
        self.addresses: dict[str, list[str]] = {}
        self.asked: set[str] = set()

    def answer(self, query: bytes) -> bytes:
        """The response to a query of one question (RFC 1035 section 4.1)."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (wanted,) = struct.unpack_from("!H", query, at + 1)
        name = ".".join(labels).lower()
        self.asked.add(name)
        known = self.addresses.get(name)
        found = [ip_address(text) for text in known or ()]
        chosen = [address for address in found if _TYPES[address.version] == wanted]
        header = struct.pack("!HHHHHH", *struct.unpack_from("!H", query), 0x8180, 1, len(chosen), 0, 0)
        if known is None:
            header = header[:3] + bytes([header[3] | _NO_SUCH_NAME]) + header[4:]
        records = (
            b"\xc0\x0c" + struct.pack("!HHIH", wanted, 1, _TTL, len(each.packed)) + each.packed for each in chosen
        )
        return header + query[12 : at + 5] + b"".join(records)


@contextmanager
def name_server() -> Iterator[Names]:
    """One at work on a port of this host."""
    names = Names()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(names.answer(data), self.client_address)

    server: Any = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    names.port = server.server_address[1]
    with served(server):
        yield names
