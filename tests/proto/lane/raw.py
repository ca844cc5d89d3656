"""A scripted HTTP/2 client: frames as they are told, and the server's frames as they come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK, PADDED = 1, 4, 1, 8
INITIAL_WINDOW_SIZE, HEADER_TABLE_SIZE = 4, 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the server's; `headers` are decoded when it is a header block."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame's bytes."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame: `settings(initial_window=1)`."""
    ids = {"header_table": 1, "initial_window": 4, "max_frame": 5}
    return frame(SETTINGS, 0, 0, b"".join(ids[k].to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in values.items()))


def request_headers(path: str, *extra: tuple[str, str], without: str = "") -> list[tuple[str, str]]:
    """What a gRPC client says first, but for the header *without*."""
    usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *extra,
    ]
    return [(name, value) for name, value in usual if name != without]


def headers(stream: int, fields: list[tuple[str, str]], *, end: bool = False) -> bytes:
    """A HEADERS frame in literals, which needs no state of the connection."""
    block = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(name, value) for name, value in fields])
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def message(data: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """*payload* in DATA frames of the usual 16 KiB."""
    pieces = [payload[at : at + 16_384] for at in range(0, len(payload), 16_384)] or [b""]
    last = len(pieces) - 1
    return b"".join(frame(DATA, END_STREAM if end and i == last else 0, stream, p) for i, p in enumerate(pieces))


def call(stream: int, path: str, payload: bytes) -> bytes:
    """A whole unary request."""
    return headers(stream, request_headers(path)) + data(stream, message(payload), end=True)


def window(stream: int, size: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def reset(stream: int, code: int = 8) -> bytes:
    """An RST_STREAM frame, CANCEL unless told otherwise."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


class Raw:
    """One connection of the scripted client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = hpack.Decoder()

    @classmethod
    async def connect(cls, path: str, first: bytes | None = None) -> Raw:
        """A connection to the Unix socket *path* that has said *first*: by default the preface and empty settings."""
        raw = cls(*await asyncio.open_unix_connection(path))
        await raw.send(PREFACE + settings() if first is None else first)
        return raw

    async def send(self, *parts: bytes) -> None:
        """Write all of *parts* at once."""
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    async def frame(self) -> Frame:
        """The next frame; raises IncompleteReadError at the end, TimeoutError when nothing comes."""
        async with asyncio.timeout(30):
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        fields = self._decoder.decode(payload) if kind == HEADERS else ()
        return Frame(kind, flags, stream, payload, tuple((str(n), str(v)) for n, v in fields))

    async def until(self, kind: int, stream: int = 0, flags: int = 0) -> Frame:
        """The next frame of *kind* on *stream* that has all of *flags*; others are passed over."""
        while True:
            got = await self.frame()
            if got.kind == kind and got.stream == stream and got.flags & flags == flags:
                return got

    async def response(self, stream: int) -> tuple[bytes, Frame]:
        """All DATA of *stream* and the headers that end it."""
        received = b""
        while True:
            got = await self.frame()
            if got.stream != stream:
                continue
            if got.kind == DATA:
                received += got.payload
            if got.kind == RST_STREAM:
                raise ConnectionResetError(int.from_bytes(got.payload, "big"))
            if got.kind == HEADERS and got.flags & END_STREAM:
                return received, got

    async def ended(self) -> list[Frame]:
        """The frames up to the end of the connection."""
        frames = []
        while True:
            try:
                frames.append(await self.frame())
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return frames

    def abort(self) -> None:
        """Leave without sending what is not sent yet."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


def goaway_code(frames: list[Frame]) -> int:
    """The error code of the last GOAWAY among *frames*."""
    return next(int.from_bytes(f.payload[4:8], "big") for f in reversed(frames) if f.kind == GOAWAY)
