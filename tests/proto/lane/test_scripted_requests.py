"""Requests to the lane in scripted HTTP/2: what no well-behaved client library would send on demand."""

from __future__ import annotations

import asyncio

import hpack
import pytest

from ringfence.proto.lane import Limits, Method
from ringfence.proto.lane.limits import DEFAULT_WINDOW
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import message

OK_REPLY = message(b"HELLO")
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CALM = 1, 3, 5, 6, 7, 11


async def test_greeting(serve: Serve, dial: Dial) -> None:
    """The first frame is our settings, and the connection window is larger than two first messages of an Envoy."""
    await serve()
    client = await dial()
    first = await client.frame()
    assert first.kind == raw.SETTINGS
    limits = Limits()
    assert raw.frame(raw.SETTINGS, 0, 0, first.payload).find(limits.streams.to_bytes(4, "big")) > 0
    grown = await client.until(raw.WINDOW_UPDATE)
    assert DEFAULT_WINDOW + int.from_bytes(grown.payload, "big") == limits.connection_window > 2 * 61 * 1024


async def test_one_byte_at_a_time(serve: Serve, dial: Dial) -> None:
    """A request is understood however it is split."""
    await serve()
    client = await dial(b"")
    for byte in raw.PREFACE + raw.settings() + raw.call(1, "/t/Upper", b"hello"):
        await client.send(bytes([byte]))
    body, end = await client.response(1)
    assert (body, end["grpc-status"]) == (OK_REPLY, "0")


async def test_header_bomb(serve: Serve, dial: Dial) -> None:
    """A header list past the limit, small on the wire by indexing, ends the connection (CVE-2016-6581)."""
    await serve(limits=Limits(headers=4096))
    client = await dial()
    encoder = hpack.Encoder()
    fields = [*raw.request_headers("/t/Upper"), *[("x-bomb", "y" * 1000)] * 20]
    await client.send(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, encoder.encode(fields)))
    assert raw.goaway_code(await client.ended()) == CALM


async def test_endless_continuation(serve: Serve, dial: Dial) -> None:
    """A header block that never ends is given up (CVE-2024-27316)."""
    await serve()
    client = await dial()
    await client.send(raw.frame(raw.HEADERS, 0, 1, b""), *[raw.frame(raw.CONTINUATION, 0, 1, b"")] * 100)
    assert raw.goaway_code(await client.ended()) == CALM


async def test_headers_in_parts(serve: Serve, dial: Dial) -> None:
    """A header block in HEADERS and CONTINUATION frames is one block."""
    await serve()
    client = await dial()
    whole = raw.headers(1, raw.request_headers("/t/Upper"))[9:]
    await client.send(
        raw.frame(raw.HEADERS, 0, 1, whole[:10]),
        raw.frame(raw.CONTINUATION, 0, 1, whole[10:20]),
        raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1, whole[20:]),
        raw.data(1, message(b"hello"), end=True),
    )
    assert (await client.response(1))[0] == OK_REPLY


async def test_data_within_a_header_block(serve: Serve, dial: Dial) -> None:
    """Nothing may stand between the parts of a header block (RFC 9113 section 6.10)."""
    await serve()
    client = await dial()
    whole = raw.headers(1, raw.request_headers("/t/Upper"))[9:]
    await client.send(raw.frame(raw.HEADERS, 0, 1, whole), raw.data(1, message(b"hello"), end=True))
    assert raw.goaway_code(await client.ended()) == PROTOCOL_ERROR


@pytest.mark.parametrize("missing", [":path", ":method", ":scheme"])
async def test_missing_pseudo_header(serve: Serve, dial: Dial, missing: str) -> None:
    """A request without a pseudo-header is malformed (RFC 9113 section 8.3.1)."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Upper", without=missing), end=True))
    assert raw.goaway_code(await client.ended()) == PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (raw.request_headers("/t/Upper", without="te"), "400"),
        (raw.request_headers("/t/Upper", without="content-type"), "415"),
        ([*raw.request_headers("/t/Upper", without="content-type"), ("content-type", "application/json")], "415"),
        ([*raw.request_headers("/t/Upper", without="content-type"), ("content-type", "application/grpc-web")], "415"),
        ([(":method", "GET"), *raw.request_headers("/t/Upper", without=":method")], "405"),
    ],
)
async def test_no_grpc_request(serve: Serve, dial: Dial, fields: list[tuple[str, str]], status: str) -> None:
    """What is HTTP/2 but not gRPC gets an HTTP answer."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, fields, end=True))
    assert (await client.response(1))[1][":status"] == status


@pytest.mark.parametrize("subtype", ["application/grpc+proto", "application/grpc;charset=utf-8"])
async def test_content_types(serve: Serve, dial: Dial, subtype: str) -> None:
    """Every content type of gRPC over HTTP/2 is taken."""
    await serve()
    client = await dial()
    fields = [*raw.request_headers("/t/Upper", without="content-type"), ("content-type", subtype)]
    await client.send(raw.headers(1, fields), raw.data(1, message(b"hello"), end=True))
    assert (await client.response(1))[0] == OK_REPLY


@pytest.mark.parametrize("value", ["", "1", "S", "-1S", "123456789S", "1.5S", "1s"])
async def test_malformed_timeout(serve: Serve, dial: Dial, value: str) -> None:
    """A grpc-timeout that is none is refused, not taken for no deadline."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Upper", ("grpc-timeout", value)), end=True))
    assert (await client.response(1))[1]["grpc-status"] == "13"


async def test_request_that_ends_within_a_message(serve: Serve, dial: Dial) -> None:
    """A half-close within a message ends the call with INTERNAL, and is not taken for the end of the messages."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Echo")), raw.data(1, message(b"hello")[:7], end=True))
    end = (await client.response(1))[1]
    assert (end["grpc-status"], end["grpc-message"]) == ("13", "the request ends within a message")


async def test_padding(serve: Serve, dial: Dial) -> None:
    """Padding is taken off, and counts towards the window."""
    await serve()
    client = await dial()
    padded = bytes([3]) + message(b"hello") + bytes(3)
    flags = raw.PADDED | raw.END_STREAM
    await client.send(raw.headers(1, raw.request_headers("/t/Upper")), raw.frame(raw.DATA, flags, 1, padded))
    assert (await client.response(1))[0] == OK_REPLY


@pytest.mark.parametrize("payload", [b"", b"\x05abcd", b"\x01"])
async def test_wrong_padding(serve: Serve, dial: Dial, payload: bytes) -> None:
    """More padding than frame is a connection error (RFC 9113 section 6.1)."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Upper")), raw.frame(raw.DATA, raw.PADDED, 1, payload))
    assert raw.goaway_code(await client.ended()) == PROTOCOL_ERROR


@pytest.mark.parametrize("stream", [0, 2, 9])
async def test_data_on_no_stream(serve: Serve, dial: Dial, stream: int) -> None:
    """Data on the connection itself or on a stream that nobody opened is a connection error."""
    await serve()
    client = await dial()
    await client.send(raw.frame(raw.DATA, 0, stream, b"x"))
    assert raw.goaway_code(await client.ended()) == PROTOCOL_ERROR


async def test_data_after_the_end(serve: Serve, dial: Dial) -> None:
    """A client that sends on a stream which it ended loses that stream, and the handler is cancelled."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)))
    client = await dial()
    await client.send(raw.call(1, "/t/Watched", b""))
    await client.until(raw.DATA, 1)
    await client.send(raw.data(1, message(b"more")))
    assert int.from_bytes((await client.until(raw.RST_STREAM, 1)).payload, "big") == STREAM_CLOSED
    await asyncio.wait_for(watched.cancelled.wait(), 30)


async def test_frame_past_the_limit(serve: Serve, dial: Dial) -> None:
    """A frame larger than we take is refused by its header, before its bytes are here."""
    await serve()
    client = await dial()
    await client.send((16_385).to_bytes(3, "big") + bytes([raw.DATA, 0]) + (1).to_bytes(4, "big"))
    assert raw.goaway_code(await client.ended()) == FRAME_SIZE_ERROR


async def test_no_http2(serve: Serve, dial: Dial) -> None:
    """A client that speaks HTTP/1 is left at once."""
    await serve()
    client = await dial(b"GET / HTTP/1.1\r\n\r\n")
    assert raw.goaway_code(await client.ended()) == PROTOCOL_ERROR


async def test_ping_is_answered(serve: Serve, dial: Dial) -> None:
    """A PING comes back with its payload."""
    await serve()
    client = await dial()
    await client.send(raw.frame(raw.PING, 0, 0, b"abcdefgh"))
    assert (await client.until(raw.PING, 0, raw.ACK)).payload == b"abcdefgh"


async def test_smaller_header_table(serve: Serve, dial: Dial) -> None:
    """A client that shrinks its header table is told so at the next block (RFC 7541 section 4.2)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(header_table=0))
    client._decoder.max_allowed_table_size = 0
    await client.send(raw.call(1, "/t/Upper", b"hello"))
    assert (await client.response(1))[0] == OK_REPLY
    await client.send(raw.call(3, "/t/Upper", b"hello"))
    assert (await client.response(3))[1]["grpc-status"] == "0"
