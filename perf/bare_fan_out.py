"""The least that can be done for many open streams: a server that speaks just enough HTTP/2 to send all the same bytes.

It attests nobody and keeps no state but which streams are open. It prints a line when it listens; at each line of its
input it sends the message once more to all, in one write a connection.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

_ACK = 1
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_HEADERS = 4
_PREFACE = 24  # bytes
_OPEN: dict[asyncio.Transport, tuple[int, ...]] = {}  # with the numbers of its streams


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class _Connection(asyncio.Protocol):
    def __init__(self, message: bytes) -> None:
        self._message = message
        self._held = b""
        self._skip = _PREFACE
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(_frame(_SETTINGS, 0, 0))

    def data_received(self, data: bytes) -> None:
        skip = min(self._skip, len(data))
        self._skip -= skip
        self._held += data[skip:]
        while len(self._held) >= 9 and len(self._held) >= 9 + (size := int.from_bytes(self._held[:3], "big")):
            stream = int.from_bytes(self._held[5:9], "big")
            self._answer(self._held[3], self._held[4], stream, self._held[9 : 9 + size])
            self._held = self._held[9 + size :]

    def _answer(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self.transport is None:
            return
        if kind == _SETTINGS and not flags & _ACK:
            self.transport.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self.transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _HEADERS:
            _OPEN[self.transport] = (*_OPEN.get(self.transport, ()), stream)
            self.transport.write(_frame(_HEADERS, _END_HEADERS, stream, b"\x88\x0f\x10\x10application/grpc"))
            self.transport.write(_frame(_DATA, 0, stream, self._message))


async def main(path: str, message: bytes) -> None:
    """Serve until the input ends."""
    framed = b"\0" + len(message).to_bytes(4, "big") + message
    server = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(framed), path, backlog=4096)
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        cut = {streams: b"".join(_frame(_DATA, 0, stream, framed) for stream in streams) for streams in _OPEN.values()}
        for transport, streams in _OPEN.items():
            transport.write(cut[streams])
    server.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
