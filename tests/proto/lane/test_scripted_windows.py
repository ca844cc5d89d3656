"""Flow control of the lane against scripted HTTP/2: windows, credit, and bounded buffers both ways."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.proto.lane import Call, Limits, Method
from ringfence.proto.lane.limits import DEFAULT_WINDOW
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import message

OK_REPLY = message(b"HELLO")
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CALM = 1, 3, 5, 6, 7, 11


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
