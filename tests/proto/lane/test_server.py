"""How a lane ends: nothing new, a grace for what runs, and UNAVAILABLE for the rest."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.proto.lane import Call, Method
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import message


async def test_drain_of_an_idle_lane_is_immediate(serve: Serve, dial: Dial, socket_path: str) -> None:
    """Without calls nothing waits for the grace, the client gets a clean GOAWAY and the socket file is gone."""
    lane = await serve()
    client = await dial()
    await client.until(raw.SETTINGS, 0, raw.ACK)
    draining = asyncio.create_task(lane.drain(60))
    ping = await client.until(raw.PING)
    await client.send(raw.frame(raw.PING, raw.ACK, 0, ping.payload))
    assert raw.goaway_code(await client.ended()) == 0
    await asyncio.wait_for(draining, 30)
    assert not await asyncio.to_thread(Path(socket_path).exists)


async def test_drain_lets_calls_end(serve: Serve, dial: Dial) -> None:
    """Calls that run, and one that was on its way when we said GOAWAY, end by themselves within the grace."""
    go_on = asyncio.Event()

    async def slow(call: Call) -> None:
        await go_on.wait()
        await call.send(await call.receive())

    lane = await serve(methods(Slow=Method(slow, bytes)))
    client = await dial()
    await client.send(raw.call(1, "/t/Slow", b"one"))
    await client.until(raw.SETTINGS, 0, raw.ACK)
    draining = asyncio.create_task(lane.drain(60))
    first = await client.until(raw.GOAWAY)
    assert int.from_bytes(first.payload[:4], "big") == 2**31 - 1
    ping = await client.until(raw.PING)
    await client.send(raw.call(3, "/t/Slow", b"two"), raw.frame(raw.PING, raw.ACK, 0, ping.payload))
    last = await client.until(raw.GOAWAY)
    assert int.from_bytes(last.payload[:4], "big") == 3
    await client.send(raw.call(5, "/t/Slow", b"three"))
    assert int.from_bytes((await client.until(raw.RST_STREAM, 5)).payload, "big") == 7  # REFUSED_STREAM
    go_on.set()
    assert {(await client.until(raw.DATA, stream)).payload for stream in (1, 3)} == {message(b"one"), message(b"two")}
    await client.ended()
    await asyncio.wait_for(draining, 30)


async def test_drain_ends_streams_with_unavailable(serve: Serve, channel: grpc.aio.Channel) -> None:
    """After the grace an open stream ends with UNAVAILABLE, never OK or CANCELLED, and its handler is cancelled."""
    watched = Watched()
    lane = await serve(methods(Watched=Method(watched, bytes)))
    call = channel.unary_stream("/t/Watched")(b"")
    assert await call.read() == b"first"
    await lane.drain(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the server is shutting down",
    )
    assert watched.cancelled.is_set()


async def test_drain_within_a_message(serve: Serve, dial: Dial) -> None:
    """A stream that is cut within a message that its reader did not take ends with UNAVAILABLE too."""
    lane = await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=7))
    await client.send(raw.call(1, "/t/Upper", b"hello"))
    assert (await client.until(raw.DATA, 1)).payload == message(b"HELLO")[:7]
    draining = asyncio.create_task(lane.drain(0))
    assert (await client.until(raw.HEADERS, 1, raw.END_STREAM))["grpc-status"] == "14"
    await client.ended()
    await draining


async def test_drain_waits_for_handlers_that_clean_up(serve: Serve, dial: Dial) -> None:
    """When drain returns no handler runs any more, though its client left long ago; its pidfd was good until then."""
    cleaned = asyncio.Event()

    async def tidy(call: Call) -> None:
        try:
            await call.receive()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            assert call.peer.pidfd is not None
            os.fstat(call.peer.pidfd)
            cleaned.set()

    lane = await serve(methods(Tidy=Method(tidy, bytes)))
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Tidy")), raw.frame(raw.PING, 0, 0, b"12345678"))
    await client.until(raw.PING, 0, raw.ACK)
    await client.close()
    await lane.drain(60)
    assert cleaned.is_set()


async def test_socket_of_another_server_is_left(serve: Serve, socket_path: str) -> None:
    """A server that ends removes its own socket, not the one that another put in its place."""
    lane = await serve()
    await asyncio.to_thread(Path(socket_path).rename, socket_path + ".old")
    await asyncio.to_thread(Path(socket_path).write_bytes, b"")
    await lane.close()
    assert await asyncio.to_thread(Path(socket_path).exists)


async def test_no_file_is_left_open(serve: Serve, dial: Dial) -> None:
    """Connections that come and go, with their pidfds, leave no file behind."""
    lane = await serve()
    gc.collect()  # what tests before left to the collector is not to go in between
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are what is compared
    for _ in range(5):
        client = await dial()
        await client.send(raw.call(1, "/t/Upper", b"hello"))
        await client.response(1)
        await client.close()
    for connection in lane.connections:
        await connection.closed
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
