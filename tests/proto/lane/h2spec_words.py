"""What the cases of h2spec are made of: frames that are sent, and what is expected of whoever gets them."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.proto.lane.faults import ErrorCode
from tests.proto.lane import raw
from tests.proto.lane.raw import message

PRIORITY, PUSH_PROMISE, HAS_PRIORITY = 2, 5, 0x20
HELLO = message(b"HELLO")
PING = raw.frame(raw.PING, 0, 0, b"12345678")
REQUEST = raw.request_headers("/t/Upper")
WATCHED = raw.headers(1, raw.request_headers("/t/Watched"))
HALF_CLOSED = raw.headers(1, raw.request_headers("/t/Watched")) + raw.data(1, message(b""), end=True)
CLOSED = raw.headers(1, raw.request_headers("/t/Watched")) + raw.reset(1)
BLOCK = raw.headers(1, REQUEST)[9:]
CALL = raw.call(1, "/t/Upper", b"hello")


@dataclass(frozen=True)
class Gone:
    """The connection ends with this code."""

    code: ErrorCode = ErrorCode.PROTOCOL_ERROR


@dataclass(frozen=True)
class Reset:
    """Stream 1 ends with this code, and the connection goes on."""

    code: ErrorCode


@dataclass(frozen=True)
class Served:
    """The call on this stream is answered, whatever came before it."""

    stream: int


@dataclass(frozen=True)
class Said:
    """The first response on stream 1 has this HTTP status."""

    status: str


@dataclass(frozen=True)
class Pong:
    """A PING is answered, so the connection goes on."""


Expected = Gone | Reset | Served | Said | Pong
CLOSED_STREAM, TOO_LARGE = ErrorCode.STREAM_CLOSED, ErrorCode.FRAME_SIZE_ERROR
FLOW, COMPRESSION = ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.COMPRESSION_ERROR


def opened(block: bytes, flags: int = 0) -> bytes:
    """A HEADERS frame of stream 1 that holds a whole block and more DATA to come."""
    return raw.frame(raw.HEADERS, raw.END_HEADERS | flags, 1, block)


def hello(stream: int = 1) -> bytes:
    """The message of a call, and its end."""
    return raw.data(stream, message(b"hello"), end=True)


def request(*fields: tuple[str, str], without: str = "", end: bool = False) -> bytes:
    """A request on stream 1 with more fields, or without one."""
    return raw.headers(1, [*raw.request_headers("/t/Upper", without=without), *fields], end=end)


def first(*fields: tuple[str, str], without: str = "") -> bytes:
    """The same with the fields before all others."""
    return raw.headers(1, [*fields, *raw.request_headers("/t/Upper", without=without)])


def get(method: str) -> bytes:
    """A request that is none of gRPC's."""
    return raw.headers(1, [(":method", method), *raw.request_headers("/t/Upper", without=":method")], end=True)


def priority(stream: int, depends: int = 0, weight: int = 15) -> bytes:
    """A PRIORITY frame."""
    return raw.frame(PRIORITY, 0, stream, depends.to_bytes(4, "big") + bytes([weight]))


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame of any identifiers."""
    return raw.frame(raw.SETTINGS, 0, 0, b"".join(n.to_bytes(2, "big") + v.to_bytes(4, "big") for n, v in pairs))


Case = tuple[str, bytes, Expected]  # the section by which it is judged, what is sent, what comes back
