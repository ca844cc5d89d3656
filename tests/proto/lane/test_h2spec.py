"""HTTP/2 as h2spec asks for it: its cases one by one, named as it names them, in frames of our own.

h2spec is written to RFC 7540; each case says the section of RFC 9113, or 7541 for HPACK, by which it is judged here.
What may be a stream error or a connection error there is what ours is. Where the newer RFC took a rule back the case
says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ringfence.proto.lane import Limits, Method
from ringfence.proto.lane.faults import ErrorCode
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.handlers import Watched, methods
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


GENERIC: dict[str, tuple[str, bytes, Expected]] = {
    "generic/1/1 the preface is answered": ("3.4", b"", Pong()),
    "generic/2/1 PRIORITY on an idle stream": ("5.3.2", priority(1), Pong()),
    "generic/2/2 WINDOW_UPDATE on a half-closed stream": ("5.1", HALF_CLOSED + raw.window(1, 100), Pong()),
    "generic/2/3 PRIORITY on a half-closed stream": ("5.1", HALF_CLOSED + priority(1), Pong()),
    "generic/2/4 RST_STREAM on a half-closed stream": ("5.1", HALF_CLOSED + raw.reset(1), Pong()),
    "generic/2/5 PRIORITY on a closed stream": ("5.1", CLOSED + priority(1), Pong()),
    "generic/3.1/1 DATA": ("6.1", CALL, Served(1)),
    "generic/3.1/2 several DATA": (
        "6.1",
        raw.headers(1, REQUEST) + raw.data(1, HELLO[:4]) + raw.data(1, b"\5hel") + raw.data(1, b"lo", end=True),
        Served(1),
    ),
    "generic/3.1/3 DATA with padding": (
        "6.1",
        raw.headers(1, REQUEST) + raw.frame(raw.DATA, raw.PADDED | 1, 1, b"\5" + message(b"hello") + bytes(5)),
        Served(1),
    ),
    "generic/3.2/1 HEADERS": ("6.2", opened(BLOCK) + hello(), Served(1)),
    "generic/3.2/2 HEADERS with padding": ("6.2", opened(b"\3" + BLOCK + bytes(3), raw.PADDED) + hello(), Served(1)),
    "generic/3.2/3 HEADERS with priority": (
        "6.2",
        opened(bytes(4) + b"\xff" + BLOCK, HAS_PRIORITY) + hello(),
        Served(1),
    ),
    "generic/3.3/1 PRIORITY 1": ("6.3", priority(1, weight=0), Pong()),
    "generic/3.3/2 PRIORITY 256": ("6.3", priority(1, weight=255), Pong()),
    "generic/3.3/3 PRIORITY with a dependency": ("6.3", priority(1, 3), Pong()),
    "generic/3.3/4 PRIORITY with an exclusive dependency": ("6.3", priority(1, 3 | 1 << 31), Pong()),
    "generic/3.3/5 PRIORITY for an idle stream, then a lower one opens": ("5.1.1", priority(5) + CALL, Served(1)),
    "generic/3.4/1 RST_STREAM": ("6.4", CLOSED, Pong()),
    "generic/3.5/1 SETTINGS": ("6.5", settings((1, 4_096), (3, 100), (4, 65_535), (5, 16_384), (6, 9_999)), Pong()),
    "generic/3.7/1 PING": ("6.7", PING, Pong()),
    "generic/3.8/1 GOAWAY": ("6.8", raw.frame(raw.GOAWAY, 0, 0, bytes(8)), Pong()),
    "generic/3.9/1 WINDOW_UPDATE on the connection": ("6.9", raw.window(0, 1) + CALL, Served(1)),
    "generic/3.9/2 WINDOW_UPDATE on a stream": ("6.9", raw.headers(1, REQUEST) + raw.window(1, 1) + hello(), Served(1)),
    "generic/3.10/1 CONTINUATION": (
        "6.10",
        raw.frame(raw.HEADERS, 0, 1, BLOCK[:9]) + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1, BLOCK[9:]) + hello(),
        Served(1),
    ),
    "generic/3.10/2 several CONTINUATION": (
        "6.10",
        raw.frame(raw.HEADERS, 0, 1, BLOCK[:9])
        + raw.frame(raw.CONTINUATION, 0, 1, BLOCK[9:20])
        + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1, BLOCK[20:])
        + hello(),
        Served(1),
    ),
    "generic/4/1 GET": ("8.3.1, 405 here", get("GET"), Said("405")),
    "generic/4/2 HEAD": ("8.3.1, 405 here", get("HEAD"), Said("405")),
    "generic/4/3 POST": ("8.3.1", CALL, Served(1)),
    "generic/4/4 POST with trailers": (
        "8.1",
        raw.headers(1, REQUEST) + raw.data(1, message(b"hello")) + raw.headers(1, [("x-test", "ok")], end=True),
        Served(1),
    ),
}

HPACK_TAKEN = {
    "generic/5/1 indexed": ("7541 6.1", b"\x83\x86" + raw.headers(1, REQUEST[2:])[9:]),
    "generic/5/2 literal with indexing, indexed name": ("7541 6.2.1", BLOCK + b"\x7a\x01x"),
    "generic/5/3 literal with indexing, indexed name, Huffman": ("7541 6.2.1", BLOCK + b"\x7a\x81\xf3"),
    "generic/5/4 literal with indexing, new name": ("7541 6.2.1", BLOCK + b"\x40\x01x\x01y"),
    "generic/5/5 literal with indexing, new name, Huffman": ("7541 6.2.1", BLOCK + b"\x40\x81\xf3\x81\xf5"),
    "generic/5/6 literal without indexing, indexed name": ("7541 6.2.2", BLOCK + b"\x0f\x2b\x01x"),
    "generic/5/7 literal without indexing, indexed name, Huffman": ("7541 6.2.2", BLOCK + b"\x0f\x2b\x81\xf3"),
    "generic/5/8 literal without indexing, new name": ("7541 6.2.2", BLOCK + b"\x00\x01x\x01y"),
    "generic/5/9 literal without indexing, new name, Huffman": ("7541 6.2.2", BLOCK + b"\x00\x81\xf3\x81\xf5"),
    "generic/5/10 literal never indexed, indexed name": ("7541 6.2.3", BLOCK + b"\x1f\x2b\x01x"),
    "generic/5/11 literal never indexed, indexed name, Huffman": ("7541 6.2.3", BLOCK + b"\x1f\x2b\x81\xf3"),
    "generic/5/12 literal never indexed, new name": ("7541 6.2.3", BLOCK + b"\x10\x01x\x01y"),
    "generic/5/13 literal never indexed, new name, Huffman": ("7541 6.2.3", BLOCK + b"\x10\x81\xf3\x81\xf5"),
    "generic/5/14 a new table size first": ("7541 6.3", b"\x3f\xe1\x1f" + BLOCK),
    "generic/5/15 two new table sizes first": ("7541 4.2", b"\x20\x3f\xe1\x1f" + BLOCK),
}

CONNECTION: dict[str, tuple[str, bytes, Expected]] = {
    "http2/4.1/1 a frame of unknown type": ("4.1", raw.frame(22, 0, 0, bytes(8)) + CALL, Served(1)),
    "http2/4.1/2 flags that are not defined": ("4.1", raw.frame(raw.PING, 0x16, 0, b"12345678"), Pong()),
    "http2/4.1/3 the reserved bit": ("4.1", raw.frame(raw.PING, 0, 1 << 31, b"12345678"), Pong()),
    "http2/4.2/1 DATA of 2^14 bytes": (
        "4.2",
        raw.headers(1, raw.request_headers("/t/Silent")) + raw.data(1, message(bytes(16_379)), end=True),
        Served(1),
    ),
    "http2/4.2/2 DATA past the limit": ("4.2", WATCHED + raw.frame(raw.DATA, 0, 1, bytes(16_385)), Gone(TOO_LARGE)),
    "http2/4.2/3 HEADERS past the limit": ("4.2", opened(bytes(16_385)), Gone(TOO_LARGE)),
    "http2/4.3/1 a broken header block": ("4.3", opened(b"\x40"), Gone(COMPRESSION)),
    "http2/4.3/2 PRIORITY within a header block": (
        "4.3",
        raw.frame(raw.HEADERS, 0, 1, BLOCK) + priority(1),
        Gone(),
    ),
    "http2/4.3/3 HEADERS of another stream within a block": (
        "4.3",
        raw.frame(raw.HEADERS, 0, 1, BLOCK) + raw.headers(3, REQUEST),
        Gone(),
    ),
    "http2/5.1/1 idle: DATA": ("5.1", raw.data(1, b"x"), Gone()),
    "http2/5.1/2 idle: RST_STREAM": ("5.1", raw.reset(1), Gone()),
    "http2/5.1/3 idle: WINDOW_UPDATE": ("5.1", raw.window(1, 100), Gone()),
    "http2/5.1/4 idle: CONTINUATION": ("5.1", raw.frame(raw.CONTINUATION, 4, 1, BLOCK), Gone()),
    "http2/5.1/5 half-closed: DATA": ("5.1", HALF_CLOSED + raw.data(1, b"x"), Reset(CLOSED_STREAM)),
    "http2/5.1/6 half-closed: HEADERS": (
        "5.1",
        HALF_CLOSED + raw.headers(1, [("x-test", "ok")], end=True),
        Reset(CLOSED_STREAM),
    ),
    "http2/5.1/7 half-closed: CONTINUATION": ("6.10", HALF_CLOSED + raw.frame(raw.CONTINUATION, 4, 1, BLOCK), Gone()),
    "http2/5.1/8 closed by RST_STREAM: DATA": ("5.1", CLOSED + raw.data(1, b"x"), Gone(CLOSED_STREAM)),
    "http2/5.1/9 closed by RST_STREAM: HEADERS": ("5.1", CLOSED + raw.headers(1, REQUEST), Gone(CLOSED_STREAM)),
    "http2/5.1/10 closed by RST_STREAM: CONTINUATION": (
        "6.10",
        CLOSED + raw.frame(raw.CONTINUATION, 4, 1, b""),
        Gone(),
    ),
    "http2/5.1.1/1 an even number": ("5.1.1", raw.headers(2, REQUEST), Gone()),
    "http2/5.1.1/2 a smaller number": ("5.1.1", raw.headers(5, REQUEST) + raw.headers(3, REQUEST), Gone()),
    "http2/5.3.1/1 HEADERS that depends on itself": (
        "5.3.2: priorities mean nothing any more",
        opened(b"\0\0\0\1\xff" + BLOCK, HAS_PRIORITY) + hello(),
        Served(1),
    ),
    "http2/5.3.1/2 PRIORITY that depends on itself": ("5.3.2: likewise", priority(1, 1), Pong()),
    "http2/5.4.1/1 a PING that ends the connection": ("5.4.1", raw.frame(raw.PING, 0, 3, bytes(8)), Gone()),
    "http2/5.5/1 an unknown frame": ("5.5", raw.frame(255, 0, 3, bytes(8)), Pong()),
    "http2/5.5/2 an unknown frame within a header block": (
        "5.5",
        raw.frame(raw.HEADERS, 0, 1, BLOCK) + raw.frame(255, 0, 0, bytes(8)),
        Gone(),
    ),
}

FRAMES: dict[str, tuple[str, bytes, Expected]] = {
    "http2/6.1/1 DATA of no stream": ("6.1", raw.data(0, b"x"), Gone()),
    "http2/6.1/2 DATA on a stream that is over": ("6.1", CLOSED + raw.data(1, b"x"), Gone(CLOSED_STREAM)),
    "http2/6.1/3 DATA with too much padding": (
        "6.1",
        WATCHED + raw.frame(raw.DATA, raw.PADDED, 1, b"\x06hello"),
        Gone(),
    ),
    "http2/6.2/1 HEADERS, then PRIORITY": ("6.2", raw.frame(raw.HEADERS, 0, 1, BLOCK) + priority(1), Gone()),
    "http2/6.2/2 HEADERS, then those of another": (
        "6.2",
        raw.frame(raw.HEADERS, 0, 1, BLOCK) + raw.frame(raw.HEADERS, 0, 3, BLOCK),
        Gone(),
    ),
    "http2/6.2/3 HEADERS of no stream": ("6.2", raw.headers(0, REQUEST), Gone()),
    "http2/6.2/4 HEADERS with too much padding": ("6.2", opened(b"\xff" + BLOCK, raw.PADDED), Gone()),
    "http2/6.3/1 PRIORITY of no stream": ("6.3", priority(0), Gone()),
    "http2/6.3/2 PRIORITY of a wrong size": ("6.3", raw.frame(PRIORITY, 0, 1, bytes(4)), Gone(TOO_LARGE)),
    "http2/6.4/1 RST_STREAM of no stream": ("6.4", raw.reset(0), Gone()),
    "http2/6.4/2 RST_STREAM of an idle stream": ("6.4", raw.reset(1), Gone()),
    "http2/6.4/3 RST_STREAM of a wrong size": (
        "6.4",
        WATCHED + raw.frame(raw.RST_STREAM, 0, 1, bytes(3)),
        Gone(TOO_LARGE),
    ),
    "http2/6.5/1 an acknowledgement with settings": ("6.5", raw.frame(raw.SETTINGS, 1, 0, bytes(1)), Gone(TOO_LARGE)),
    "http2/6.5/2 SETTINGS of a stream": ("6.5", raw.frame(raw.SETTINGS, 0, 1, b""), Gone()),
    "http2/6.5/3 SETTINGS of a wrong size": ("6.5", raw.frame(raw.SETTINGS, 0, 0, bytes(3)), Gone(TOO_LARGE)),
    "http2/6.5.2/1 ENABLE_PUSH that is no truth": ("6.5.2", settings((2, 2)), Gone()),
    "http2/6.5.2/2 INITIAL_WINDOW_SIZE past the most": ("6.5.2", settings((4, 1 << 31)), Gone(FLOW)),
    "http2/6.5.2/3 MAX_FRAME_SIZE below the least": ("6.5.2", settings((5, 16_383)), Gone()),
    "http2/6.5.2/4 MAX_FRAME_SIZE past the most": ("6.5.2", settings((5, 1 << 24)), Gone()),
    "http2/6.5.2/5 a setting that is not known": ("6.5.2", settings((0xFF, 1)), Pong()),
    "http2/6.7/1 PING": ("6.7", PING, Pong()),
    "http2/6.7/3 PING of a stream": ("6.7", raw.frame(raw.PING, 0, 1, bytes(8)), Gone()),
    "http2/6.7/4 PING of a wrong size": ("6.7", raw.frame(raw.PING, 0, 0, bytes(6)), Gone(TOO_LARGE)),
    "http2/6.8/1 GOAWAY of a stream": ("6.8", raw.frame(raw.GOAWAY, 0, 1, bytes(8)), Gone()),
    "http2/6.9/1 no credit for the connection": ("6.9", raw.window(0, 0), Gone()),
    "http2/6.9/2 no credit for a stream": ("6.9", WATCHED + raw.window(1, 0), Reset(ErrorCode.PROTOCOL_ERROR)),
    "http2/6.9/3 WINDOW_UPDATE of a wrong size": ("6.9", raw.frame(raw.WINDOW_UPDATE, 0, 0, bytes(3)), Gone(TOO_LARGE)),
    "http2/6.9.1/2 too much credit for the connection": ("6.9.1", raw.window(0, 2**31 - 1) * 2, Gone(FLOW)),
    "http2/6.9.1/3 too much credit for a stream": ("6.9.1", WATCHED + raw.window(1, 2**31 - 1) * 2, Reset(FLOW)),
    "http2/6.9.2/3 an initial window past the most": ("6.9.2", settings((4, 1 << 31)), Gone(FLOW)),
    "http2/6.10/2 CONTINUATION, then something else": (
        "6.10",
        raw.frame(raw.HEADERS, 0, 1, BLOCK[:5]) + raw.frame(raw.CONTINUATION, 0, 1, BLOCK[5:]) + raw.data(1, b"x"),
        Gone(),
    ),
    "http2/6.10/3 CONTINUATION of no stream": (
        "6.10",
        raw.frame(raw.HEADERS, 0, 1, BLOCK[:5]) + raw.frame(raw.CONTINUATION, 4, 0, BLOCK[5:]),
        Gone(),
    ),
    "http2/6.10/4 CONTINUATION after HEADERS that were whole": (
        "6.10",
        WATCHED + raw.frame(raw.CONTINUATION, 4, 1, BLOCK),
        Gone(),
    ),
    "http2/6.10/5 CONTINUATION after one that was the last": (
        "6.10",
        raw.frame(raw.HEADERS, 0, 1, BLOCK) + raw.frame(raw.CONTINUATION, 4, 1, b"") * 2,
        Gone(),
    ),
    "http2/6.10/6 CONTINUATION after DATA": (
        "6.10",
        WATCHED + raw.data(1, b"") + raw.frame(raw.CONTINUATION, 4, 1, BLOCK),
        Gone(),
    ),
    "http2/7/1 GOAWAY with a code that is not known": (
        "7",
        raw.frame(raw.GOAWAY, 0, 0, bytes(4) + b"\0\0\0\xff"),
        Pong(),
    ),
    "http2/7/2 RST_STREAM with a code that is not known": ("7", WATCHED + raw.reset(1, 0xFF), Pong()),
    "http2/8.2/1 PUSH_PROMISE": ("8.4", raw.frame(PUSH_PROMISE, 4, 1, bytes(4) + BLOCK), Gone()),
}

MESSAGES: dict[str, tuple[str, bytes, Expected]] = {
    "http2/8.1/1 a second HEADERS that ends nothing": ("8.1", WATCHED + raw.headers(1, [("x-test", "ok")]), Gone()),
    "http2/8.1.2/1 a name in upper case": ("8.2.1", request(("X-TEST", "ok")), Gone()),
    "http2/8.1.2.1/1 a pseudo-header that is none": ("8.3", first((":test", "ok")), Gone()),
    "http2/8.1.2.1/2 a pseudo-header of responses": ("8.3", first((":status", "200")), Gone()),
    "http2/8.1.2.1/3 a pseudo-header in trailers": (
        "8.1",
        WATCHED + raw.headers(1, [(":method", "x")], end=True),
        Gone(),
    ),
    "http2/8.1.2.1/4 a pseudo-header after others": ("8.3", request((":path", "/"), without=":path"), Gone()),
    "http2/8.1.2.2/1 a field of the connection": ("8.2.2", request(("connection", "keep-alive")), Gone()),
    "http2/8.1.2.2/2 TE other than trailers": ("8.2.2", request(("te", "trailers, deflate"), without="te"), Gone()),
    "http2/8.1.2.3/1 an empty path": ("8.3.1", first((":path", ""), without=":path"), Gone()),
    "http2/8.1.2.3/2 no method": ("8.3.1", request(without=":method"), Gone()),
    "http2/8.1.2.3/3 no scheme": ("8.3.1", request(without=":scheme"), Gone()),
    "http2/8.1.2.3/4 no path": ("8.3.1", request(without=":path"), Gone()),
    "http2/8.1.2.3/5 two methods": ("8.3", first((":method", "POST")), Gone()),
    "http2/8.1.2.3/6 two schemes": ("8.3", first((":scheme", "http")), Gone()),
    "http2/8.1.2.3/7 two paths": ("8.3", first((":path", "/t/Upper")), Gone()),
    "http2/8.1.2.6/1 less content than its length": (
        "8.1.1",
        request(("content-length", "11")) + hello(),
        Reset(ErrorCode.PROTOCOL_ERROR),
    ),
    "http2/8.1.2.6/2 more content than its length, in parts": (
        "8.1.1",
        request(("content-length", "9")) + raw.data(1, b"\0\0\0\0\5") + raw.data(1, b"hello", end=True),
        Reset(ErrorCode.PROTOCOL_ERROR),
    ),
    "beside: content as long as it says": ("8.1.1", request(("content-length", "10")) + hello(), Served(1)),
    "beside: a length and no content": (
        "8.1.1",
        request(("content-length", "1"), end=True),
        Reset(ErrorCode.PROTOCOL_ERROR),
    ),
    "beside: a length, no content, and trailers": (
        "8.1.1",
        request(("content-length", "1")) + raw.headers(1, [("x", "y")], end=True),
        Reset(ErrorCode.PROTOCOL_ERROR),
    ),
    "beside: a length that is no number": ("8.1.1", request(("content-length", "+1")) + hello(), Gone()),
    "beside: two lengths": ("8.1.1", request(("content-length", "10"), ("content-length", "9")) + hello(), Gone()),
}

HPACK: dict[str, tuple[str, bytes, Expected]] = {
    "hpack/2.3.3/1 an index that is not there": ("7541 2.3.3", opened(BLOCK + b"\xc6"), Gone(COMPRESSION)),
    "hpack/2.3.3/2 a name by an index that is not there": (
        "7541 2.3.3",
        opened(BLOCK + b"\x7f\x07\x01x"),
        Gone(COMPRESSION),
    ),
    "hpack/4.2/1 a table size at the end of a block": ("7541 4.2", opened(BLOCK + b"\x20"), Gone(COMPRESSION)),
    "hpack/5.2/1 padding of more than seven bits": (
        "7541 5.2",
        opened(BLOCK + b"\x00\x82\xf3\xff\x01y"),
        Gone(COMPRESSION),
    ),
    "hpack/5.2/2 padding of zeros": ("7541 5.2", opened(BLOCK + b"\x00\x81\xf2\x01y"), Gone(COMPRESSION)),
    "hpack/5.2/3 the end of a string within it": (
        "7541 5.2",
        opened(BLOCK + b"\x00\x85\xf3\xff\xff\xff\xff\x01y"),
        Gone(COMPRESSION),
    ),
    "hpack/6.1/1 the index zero": ("7541 6.1", opened(BLOCK + b"\x80"), Gone(COMPRESSION)),
    "hpack/6.3/1 a table larger than we allow": ("7541 6.3", opened(b"\x3f\xe2\x1f" + BLOCK), Gone(COMPRESSION)),
}


def cases() -> Iterator[object]:
    """Every one of them under its name."""
    for table in (GENERIC, CONNECTION, FRAMES, MESSAGES, HPACK):
        for name, (section, sent, expected) in table.items():
            yield pytest.param(sent, expected, id=f"{name} ({section})")
    for name, (section, block) in HPACK_TAKEN.items():
        yield pytest.param(opened(block) + hello(), Served(1), id=f"{name} ({section})")


@pytest.mark.parametrize(("sent", "expected"), list(cases()))
async def test_case(serve: Serve, dial: Dial, sent: bytes, expected: Expected) -> None:
    """What h2spec sends, and what comes back."""
    await serve(methods(Watched=Method(Watched(), bytes)))
    client = await dial()
    await client.send(sent, PING)
    match expected:
        case Gone(code):
            assert raw.goaway_code(await client.ended()) == code
        case Reset(code):
            assert int.from_bytes((await client.until(raw.RST_STREAM, 1)).payload, "big") == code
            assert (await client.until(raw.PING, 0, raw.ACK)).payload == b"12345678"
        case Served(stream):
            assert (await client.response(stream))[1]["grpc-status"] == "0"
        case Said(status):
            assert (await client.until(raw.HEADERS, 1))[":status"] == status
        case Pong():
            assert (await client.until(raw.PING, 0, raw.ACK)).payload == b"12345678"


@pytest.mark.parametrize("late", [raw.data(1, b"x"), raw.headers(1, REQUEST), raw.frame(raw.CONTINUATION, 4, 1, b"")])
async def test_closed_by_both_ends(serve: Serve, dial: Dial, late: bytes) -> None:
    """http2/5.1/11 to 13: whoever has ended a stream and seen its end is silent on it (RFC 9113 section 5.1)."""
    await serve()
    client = await dial()
    await client.send(CALL)
    await client.response(1)
    await client.send(late)
    expected = ErrorCode.PROTOCOL_ERROR if late[3] == raw.CONTINUATION else CLOSED_STREAM
    assert raw.goaway_code(await client.ended()) == expected


async def test_invalid_preface(serve: Serve, dial: Dial) -> None:
    """http2/3.5/2: the connection ends (RFC 9113 section 3.4)."""
    await serve()
    client = await dial(b"INVALID CONNECTION PREFACE\r\n\r\n")
    assert raw.goaway_code(await client.ended()) == ErrorCode.PROTOCOL_ERROR


async def test_more_streams_than_announced(serve: Serve, dial: Dial) -> None:
    """http2/5.1.2/1: refused as safe to try again (RFC 9113 section 5.1.2)."""
    await serve(methods(Watched=Method(Watched(), bytes)), limits=Limits(streams=1))
    client = await dial()
    await client.send(WATCHED, raw.headers(3, raw.request_headers("/t/Watched")))
    assert int.from_bytes((await client.until(raw.RST_STREAM, 3)).payload, "big") == ErrorCode.REFUSED_STREAM


async def test_the_last_of_several_values_counts(serve: Serve, dial: Dial) -> None:
    """http2/6.5.3/1 and 2: settings are taken in their order, and acknowledged (RFC 9113 section 6.5.3)."""
    await serve()
    client = await dial()
    await client.until(raw.SETTINGS, 0, raw.ACK)
    await client.send(settings((4, 100), (4, 1)), CALL)
    await client.until(raw.SETTINGS, 0, raw.ACK)
    assert len((await client.until(raw.DATA, 1)).payload) == 1


async def test_an_answer_to_a_ping_is_not_answered(serve: Serve, dial: Dial) -> None:
    """http2/6.7/2 (RFC 9113 section 6.7)."""
    await serve()
    client = await dial()
    await client.send(raw.frame(raw.PING, raw.ACK, 0, b"unasked!"), PING)
    assert (await client.until(raw.PING)).payload == b"12345678"


async def test_a_window_of_one_byte(serve: Serve, dial: Dial) -> None:
    """http2/6.9.1/1: no more than the window lets through (RFC 9113 section 6.9.1)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=1))
    await client.send(CALL)
    assert len((await client.until(raw.DATA, 1)).payload) == 1


async def test_a_window_that_a_setting_makes_negative(serve: Serve, dial: Dial) -> None:
    """http2/6.9.2/1 and 2: it is worked off before another byte is sent (RFC 9113 section 6.9.2)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=3))
    await client.send(CALL)
    assert len((await client.until(raw.DATA, 1)).payload) == 3
    await client.send(raw.settings(initial_window=2), raw.window(1, 1), PING)
    while (got := await client.frame()).kind != raw.PING:
        assert got.kind != raw.DATA
    await client.send(raw.window(1, 1))
    assert len((await client.until(raw.DATA, 1)).payload) == 1
