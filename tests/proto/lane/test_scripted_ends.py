"""How streams and connections end on the lane, against scripted HTTP/2: resets, limits, hooks and leave-taking."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import weakref

import pytest

from ringfence.proto.lane import Call, Connection, Limits, Method
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import message

OK_REPLY = message(b"HELLO")
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CALM = 1, 3, 5, 6, 7, 11


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
