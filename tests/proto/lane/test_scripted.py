"""The lane against scripted HTTP/2: what no well-behaved client library would send on demand."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import weakref

import hpack
import pytest

from ringfence.proto.lane import Call, Connection, Limits, Method
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


@pytest.mark.parametrize("size", [1, 2, 5, 16])
async def test_tiny_windows(serve: Serve, dial: Dial, size: int) -> None:
    """A client with a window of a few bytes gets the message in pieces of that size, as it gives credit."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=size))
    await client.send(raw.call(1, "/t/Upper", b"hello"))
    received = b""
    while len(received) < len(OK_REPLY):
        piece = (await client.until(raw.DATA, 1)).payload
        assert len(piece) <= size
        received += piece
        await client.send(raw.window(1, len(piece)))
    assert received == OK_REPLY
    assert (await client.until(raw.HEADERS, 1))["grpc-status"] == "0"


async def test_window_that_opens_by_settings(serve: Serve, dial: Dial) -> None:
    """A new initial window lets a waiting message go (RFC 9113 section 6.9.2)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=0))
    await client.send(raw.call(1, "/t/Upper", b"hello"), raw.frame(raw.PING, 0, 0, b"12345678"))
    await client.until(raw.PING, 0, raw.ACK)
    await client.send(raw.settings(initial_window=100))
    assert (await client.response(1))[0] == OK_REPLY


async def test_connection_window_is_shared(serve: Serve, dial: Dial) -> None:
    """A full connection window stops every stream, and its update lets them all go on."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=2**20))
    big = bytes(DEFAULT_WINDOW)
    await client.send(raw.call(1, "/t/Upper", big), raw.call(3, "/t/Upper", b"hello"))
    received = 0
    while received < DEFAULT_WINDOW:
        got = await client.frame()
        received += len(got.payload) if got.kind == raw.DATA else 0
    await client.send(raw.window(0, 2**20))
    ended: set[int] = set()
    while ended != {1, 3}:
        got = await client.frame()
        ended |= {got.stream} if got.flags & raw.END_STREAM and got.kind == raw.HEADERS else set()


async def test_two_first_messages_of_an_envoy(serve: Serve, dial: Dial) -> None:
    """Two messages of 61 KB at once on one connection pass without the client waiting for any window."""
    await serve()
    client = await dial()
    node = bytes(61 * 1024)
    await client.send(raw.call(1, "/t/Silent", node), raw.call(3, "/t/Silent", node))
    assert (await client.response(1))[1]["grpc-status"] == "0"
    assert (await client.response(3))[1]["grpc-status"] == "0"


async def test_credit_comes_before_the_message_is_whole(serve: Serve, dial: Dial) -> None:
    """A stream's window opens while the message still arrives, and while the handler reads nothing."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)))
    client = await dial()
    limits = Limits()
    part = message(bytes(2 * limits.stream_window))[: limits.stream_window]
    await client.send(raw.headers(1, raw.request_headers("/t/Watched")), raw.data(1, part))
    credit = await client.until(raw.WINDOW_UPDATE, 1)
    assert int.from_bytes(credit.payload, "big") >= limits.stream_window // 2


async def test_unread_messages_stop_the_client(serve: Serve, dial: Dial) -> None:
    """A handler that reads nothing gives no credit past a second window: memory is bounded."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)), limits=Limits(stream_window=DEFAULT_WINDOW))
    client = await dial()
    one = message(bytes(DEFAULT_WINDOW // 4 - 5))
    await client.send(raw.headers(1, raw.request_headers("/t/Watched")))
    credit = DEFAULT_WINDOW
    for _ in range(100):
        while credit < len(one):
            try:
                credit += int.from_bytes(
                    (await asyncio.wait_for(client.until(raw.WINDOW_UPDATE, 1), 0.2)).payload, "big"
                )
            except TimeoutError:
                assert watched.calls[0].inbox.held <= 2 * DEFAULT_WINDOW
                return
        await client.send(raw.data(1, one))
        credit -= len(one)
    pytest.fail("the client could send for ever")


async def test_more_than_the_window(serve: Serve, dial: Dial) -> None:
    """A client that ignores its window loses the connection (RFC 9113 section 6.9.1)."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)), limits=Limits(stream_window=DEFAULT_WINDOW))
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Watched")))
    small = message(bytes(DEFAULT_WINDOW // 8))
    await client.send(raw.data(1, small) * 20)
    assert raw.goaway_code(await client.ended()) == FLOW_CONTROL_ERROR


async def test_connection_buffers_are_bounded(serve: Serve, dial: Dial) -> None:
    """Unfinished messages on many streams may not add up past the connection's bound: one of them ends."""
    await serve(limits=Limits(buffered=100_000))
    client = await dial()
    part = message(bytes(70_000))[:60_000]
    for stream in (1, 3):
        await client.send(raw.headers(stream, raw.request_headers("/t/Silent")), raw.data(stream, part))
    assert (await client.response(3))[1]["grpc-status"] == "8"
    await client.send(raw.call(5, "/t/Upper", b"hello"))
    assert (await client.response(5))[0] == OK_REPLY


async def test_reset_mid_message(serve: Serve, dial: Dial) -> None:
    """A reset within a message cancels the handler and frees what was held; the connection goes on."""
    watched = Watched()
    lane = await serve(methods(Watched=Method(watched, bytes)))
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Watched")), raw.data(1, message(bytes(1000))[:500]))
    await client.until(raw.DATA, 1)
    await client.send(raw.reset(1))
    await asyncio.wait_for(watched.cancelled.wait(), 30)
    (connection,) = lane.connections
    assert connection.buffered == 0
    await client.send(raw.call(3, "/t/Upper", b"hello"))
    assert (await client.response(3))[0] == OK_REPLY


async def test_late_frames_of_an_ended_stream(serve: Serve, dial: Dial) -> None:
    """Data, credit and a reset that cross our end of the stream harm nobody (RFC 9113 section 5.1)."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Nothing")))
    await client.until(raw.HEADERS, 1)
    await client.send(raw.data(1, message(b"late")), raw.window(1, 10), raw.reset(1), raw.reset(1))
    await client.send(raw.call(3, "/t/Upper", b"hello"))
    assert (await client.response(3))[0] == OK_REPLY


async def test_headers_and_reset_in_one_read(serve: Serve, dial: Dial) -> None:
    """A call that is opened and reset within one packet, served or not, leaves nothing behind."""
    lane = await serve()
    client = await dial()
    for stream, path in ((1, "/t/Upper"), (3, "/t/Nothing")):
        await client.send(raw.headers(stream, raw.request_headers(path)), raw.reset(stream))
    await client.send(raw.call(5, "/t/Upper", b"hello"))
    assert (await client.response(5))[0] == OK_REPLY
    (connection,) = lane.connections
    assert not connection.calls


async def test_rapid_reset(serve: Serve, dial: Dial) -> None:
    """A client that opens and resets without end is told to calm down and loses the connection (CVE-2023-44487)."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)), limits=Limits(resets=50, resets_per_second=0))
    client = await dial()
    streams = range(1, 120, 2)
    await client.send(*[raw.headers(n, raw.request_headers("/t/Watched")) + raw.reset(n) for n in streams])
    assert raw.goaway_code(await client.ended()) == CALM


async def test_resets_within_the_allowance(serve: Serve, dial: Dial) -> None:
    """A client that cancels now and then is left alone."""
    await serve(limits=Limits(resets=50, resets_per_second=0))
    client = await dial()
    for stream in range(1, 101, 2):
        await client.send(raw.headers(stream, raw.request_headers("/t/Silent")), raw.reset(stream))
    await client.send(raw.call(101, "/t/Upper", b"hello"))
    assert (await client.response(101))[0] == OK_REPLY


async def test_more_streams_than_allowed(serve: Serve, dial: Dial) -> None:
    """A stream too many is refused as safe to try again; the others go on."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)), limits=Limits(streams=2))
    client = await dial()
    for stream in (1, 3, 5):
        await client.send(raw.headers(stream, raw.request_headers("/t/Watched")))
    refused = await client.until(raw.RST_STREAM, 5)
    assert int.from_bytes(refused.payload, "big") == REFUSED_STREAM
    assert len(watched.calls) == 2


async def test_reset_frees_the_stream_not_the_work(serve: Serve, dial: Dial) -> None:
    """A handler that still cleans up after a reset counts: resets do not buy more work at once."""
    hold = asyncio.Event()

    async def stubborn(call: Call) -> None:
        try:
            await call.receive()
        finally:
            await hold.wait()

    await serve(methods(Stubborn=Method(stubborn, bytes)), limits=Limits(streams=1))
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Stubborn")), raw.frame(raw.PING, 0, 0, b"12345678"))
    await client.until(raw.PING, 0, raw.ACK)
    await client.send(raw.reset(1), raw.headers(3, raw.request_headers("/t/Stubborn")))
    assert int.from_bytes((await client.until(raw.RST_STREAM, 3)).payload, "big") == REFUSED_STREAM
    hold.set()


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


async def test_goaway_of_the_client(serve: Serve, dial: Dial) -> None:
    """A client that says GOAWAY still gets the answers to what it asked (RFC 9113 section 6.8)."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Upper")))
    goaway = raw.frame(raw.GOAWAY, 0, 0, bytes(8))
    await client.send(raw.frame(raw.PING, 0, 0, b"abcdefgh"), goaway, raw.data(1, message(b"hello"), end=True))
    await client.until(raw.PING, 0, raw.ACK)
    assert (await client.response(1))[0] == OK_REPLY
    await client.send(raw.window(0, 1), raw.frame(raw.PING, 0, 0, b"the last"))
    assert (await client.until(raw.PING, 0, raw.ACK)).payload == b"the last"


async def test_end_before_the_half_close(serve: Serve, dial: Dial) -> None:
    """A call that ends while the client may still send is reset without error, so that it stops (RFC 9113 8.1)."""
    await serve()
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Silent")), raw.data(1, message(b"")))
    await client.response(1)
    assert int.from_bytes((await client.until(raw.RST_STREAM, 1)).payload, "big") == 0
    await client.send(raw.call(3, "/t/Silent", b""))
    await client.response(3)
    await client.send(raw.frame(raw.PING, 0, 0, b"12345678"))
    assert (await client.frame()).kind == raw.PING


async def test_no_handler_before_the_hook_has_answered(serve: Serve, dial: Dial) -> None:
    """A call that is here before the connect hook has answered does not run, and runs then."""
    answer = asyncio.Event()
    watched = Watched()

    async def later(_connection: Connection) -> None:
        await answer.wait()

    await serve(methods(Watched=Method(watched, bytes)), on_connect=later)
    client = await dial()
    await client.send(raw.call(1, "/t/Watched", b""), raw.frame(raw.PING, 0, 0, b"12345678"))
    await client.until(raw.PING, 0, raw.ACK)
    assert not watched.calls
    answer.set()
    await client.until(raw.DATA, 1)


async def test_hook_of_a_peer_that_left(serve: Serve, dial: Dial) -> None:
    """A hook that still looks at a peer is cancelled when that leaves."""
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def long(_connection: Connection) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await serve(on_connect=long)
    client = await dial()
    await asyncio.wait_for(asked.wait(), 30)
    await client.close()
    await asyncio.wait_for(cancelled.wait(), 30)


async def test_timer_of_a_call_that_ended(serve: Serve, dial: Dial) -> None:
    """A call that ends before its deadline leaves no timer behind."""
    calls: list[Call] = []

    async def keep(call: Call) -> None:
        calls.append(call)

    await serve(methods(Keep=Method(keep, bytes)))
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Keep", ("grpc-timeout", "1H")), end=True))
    await client.response(1)
    timer = calls[0]._timer
    assert timer is not None
    assert timer.cancelled()


async def test_smaller_header_table(serve: Serve, dial: Dial) -> None:
    """A client that shrinks its header table is told so at the next block (RFC 7541 section 4.2)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(header_table=0))
    client._decoder.max_allowed_table_size = 0
    await client.send(raw.call(1, "/t/Upper", b"hello"))
    assert (await client.response(1))[0] == OK_REPLY
    await client.send(raw.call(3, "/t/Upper", b"hello"))
    assert (await client.response(3))[1]["grpc-status"] == "0"


async def test_slow_reader(serve: Serve, dial: Dial) -> None:
    """A client that reads nothing stops the sender: try_send says no, send waits, and memory stays bounded."""
    sizes: list[int] = []
    full = asyncio.Event()

    async def pour(call: Call) -> None:
        while call.try_send(bytes(10_000)):
            sizes.append(10_000)
        full.set()
        await call.send(bytes(10_000))

    await serve(methods(Pour=Method(pour, bytes)))
    client = await dial(
        raw.PREFACE + raw.settings(initial_window=2**31 - 1) + raw.window(0, 2**31 - 1 - DEFAULT_WINDOW)
    )
    await client.send(raw.call(1, "/t/Pour", b""))
    await asyncio.wait_for(full.wait(), 30)
    assert sum(sizes) < 4 * 1024 * 1024
    received, end = await client.response(1)
    assert len(received) == (len(sizes) + 1) * 10_005
    assert end["grpc-status"] == "0"


async def test_concurrent_sends_do_not_mix(serve: Serve, dial: Dial) -> None:
    """Two tasks that send on one call, with too small a window, do not interleave their messages."""

    async def both(call: Call) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(call.send(b"a" * 100))
            group.create_task(call.send(b"b" * 100))

    await serve(methods(Both=Method(both, bytes)))
    client = await dial(raw.PREFACE + raw.settings(initial_window=7))
    await client.send(raw.call(1, "/t/Both", b""))
    received = b""
    while len(received) < 210:
        piece = (await client.until(raw.DATA, 1)).payload
        received += piece
        await client.send(raw.window(1, len(piece)))
    assert received == message(b"a" * 100) + message(b"b" * 100)


async def test_bdp_pings_and_window_growth_like_grpc_go(serve: Serve, dial: Dial) -> None:
    """What grpc-go does to a long stream: PING beside data, a larger window by settings, and CANCEL after the end."""
    await serve()
    client = await dial()
    await client.send(
        raw.call(1, "/t/Numbers", b"3000"), raw.frame(raw.PING, 0, 0, b"\x02\x04\x10\x10\x09\x0e\x07\x07")
    )
    await client.until(raw.PING, 0, raw.ACK)
    await client.send(raw.settings(initial_window=1 << 20), raw.window(0, 1 << 20))
    received, end = await client.response(1)
    assert received.count(b"\0\0\0\0") >= 3000
    assert end["grpc-status"] == "0"
    await client.send(raw.reset(1), raw.window(1, 5), raw.call(3, "/t/Upper", b"hello"))
    assert (await client.response(3))[0] == OK_REPLY


async def test_flood_of_pings_that_nobody_reads(serve: Serve, dial: Dial) -> None:
    """Answers that the client does not read pile up only so far: then we stop reading it too."""
    lane = await serve(limits=Limits(chatter=1_000_000))
    client = await dial()
    ping = raw.frame(raw.PING, 0, 0, b"abcdefgh") * 1000
    flood = asyncio.create_task(client.send(*[ping] * 500))
    await asyncio.wait([flood], timeout=0.01)
    (connection,) = lane.connections
    transport = connection.outflow._transport
    assert transport is not None
    async with asyncio.timeout(30):
        while not connection.outflow.paused:
            await asyncio.wait([flood], timeout=0.01)
    assert not transport.is_reading()
    assert transport.get_write_buffer_size() < 1024 * 1024
    assert not flood.done()
    flood.cancel()
    client.abort()


async def test_tick_pings_and_leaves(serve: Serve, dial: Dial) -> None:
    """By the clock a silent peer gets a PING, and without an answer loses the connection."""
    lane = await serve()
    client = await dial()
    await client.until(raw.SETTINGS, 0, raw.ACK)
    (connection,) = lane.connections
    start = connection.watch.heard
    connection.tick(start + Limits().ping_seconds + 1)
    await client.until(raw.PING)
    connection.tick(start + Limits().ping_seconds + 2 + Limits().ping_timeout_seconds)
    await client.ended()
    assert not lane.connections


async def test_idle_connection_is_closed(serve: Serve, dial: Dial) -> None:
    """A connection without calls is given up after a while, and is told so."""
    lane = await serve(limits=Limits(idle_seconds=5))
    client = await dial()
    await client.until(raw.SETTINGS, 0, raw.ACK)
    (connection,) = lane.connections
    connection.tick(connection.watch.busy + 6)
    assert raw.goaway_code(await client.ended()) == 0


async def test_more_connections_than_allowed(serve: Serve, dial: Dial) -> None:
    """A connection too many is closed at once; those that are open go on."""
    await serve(limits=Limits(connections=1))
    first = await dial()
    await first.until(raw.SETTINGS)
    second = await dial(b"")
    assert await second.ended() == []
    await first.send(raw.call(1, "/t/Upper", b"hello"))
    assert (await first.response(1))[0] == OK_REPLY


def test_limits_are_one_value() -> None:
    """Limits can be narrowed by name, and not changed afterwards."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().streams = 1  # type: ignore[misc]


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_who_leaves_an_open_call_leaves_nothing_for_the_garbage_collector(
    serve: Serve, dial: Dial, leave: str
) -> None:
    """Call, task and connection are given back at once: rings of them were a quarter of a busy agent's time."""
    gone, started = asyncio.Event(), asyncio.Event()
    held: list[weakref.ref[object]] = []

    async def hold(call: Call) -> None:
        watched = call if leave == "reset" else call.connection
        held.append(weakref.ref(watched, lambda _: gone.set()))
        del watched
        await call.send(b"first")
        started.set()
        await asyncio.Event().wait()

    await serve(methods(Hold=Method(hold, bytes)))
    client = await dial()
    gc.disable()
    try:
        await client.send(raw.call(1, "/t/Hold", b""))
        await asyncio.wait_for(started.wait(), 30)
        await (client.close() if leave == "close" else client.send(raw.reset(1)))
        await asyncio.wait_for(gone.wait(), 30)
    finally:
        gc.enable()
