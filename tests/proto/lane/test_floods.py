"""The lane under attack: each flood ends its own connection, in bounded memory, and everybody else is served."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from ringfence.proto.lane import Call, Lane, Limits, Method
from ringfence.proto.status import Status
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import Raw, message

CALM = 11
NARROW = Limits(chatter=200, chatter_per_second=0, resets=50, resets_per_second=0)
OPEN = raw.headers(1, raw.request_headers("/t/Watched"))
PING = raw.frame(raw.PING, 0, 0, b"abcdefgh")


@asynccontextmanager
async def unharmed(serve: Serve, dial: Dial, limits: Limits = NARROW) -> AsyncIterator[tuple[Lane, Raw]]:
    """A lane and its attacker; afterwards another client is served, and of the attacker nothing is left."""
    lane = await serve(methods(Watched=Method(Watched(), bytes)), limits=limits)
    victim = await dial()
    attacker = await dial()
    yield lane, attacker
    await victim.send(raw.call(1, "/t/Upper", b"hello"))
    assert (await victim.response(1))[0] == message(b"HELLO")
    assert len(lane.connections) == 1
    (connection,) = lane.connections
    assert (connection.buffered, len(connection.calls)) == (0, 0)


async def flood(client: Raw, *parts: bytes) -> None:
    """Send all of it, or as much as the server lets us."""
    with contextlib.suppress(ConnectionError):
        await client.send(*parts)


async def calmed(client: Raw) -> None:
    """The server's last word is ENHANCE_YOUR_CALM."""
    assert raw.goaway_code(await client.ended()) == CALM


@pytest.mark.parametrize(
    ("start", "frame"),
    [
        pytest.param(b"", PING, id="pings (CVE-2019-9512)"),
        pytest.param(b"", raw.frame(raw.PING, raw.ACK, 0, b"abcdefgh"), id="answers to no ping"),
        pytest.param(b"", raw.settings(max_frame=16_384), id="settings (CVE-2019-9515)"),
        pytest.param(b"", raw.frame(raw.SETTINGS, raw.ACK, 0), id="answers to no settings"),
        pytest.param(b"", raw.frame(2, 0, 1, bytes(5)), id="priorities (CVE-2019-9513)"),
        pytest.param(OPEN, raw.data(1, b""), id="empty data (CVE-2019-9518)"),
        pytest.param(OPEN, raw.window(1, 1), id="credit in drops (CVE-2019-9511)"),
        pytest.param(OPEN, raw.window(0, 1), id="credit in drops for the connection"),
        pytest.param(b"", raw.frame(99, 0, 0, b"x"), id="frames of no known kind"),
        pytest.param(b"", raw.frame(raw.GOAWAY, 0, 0, bytes(8)), id="goodbyes"),
    ],
)
async def test_a_flood_of_frames_that_carry_nothing(serve: Serve, dial: Dial, start: bytes, frame: bytes) -> None:
    """The connection is told to calm down and ended."""
    async with unharmed(serve, dial) as (_, attacker):
        await flood(attacker, start, frame * 400)
        await calmed(attacker)


async def test_a_flood_that_keeps_below_the_allowance_is_served(serve: Serve, dial: Dial) -> None:
    """Half of it is what a busy client may well need."""
    async with unharmed(serve, dial) as (_, client):
        await client.send(PING * 100, raw.call(1, "/t/Upper", b"hello"))
        assert (await client.response(1))[0] == message(b"HELLO")
        await client.close()
        await asyncio.sleep(0)


async def test_windows_of_many_streams_cannot_be_moved_without_end(serve: Serve, dial: Dial) -> None:
    """A setting of six bytes that moves the windows of a hundred streams costs as much as a hundred pings."""
    async with unharmed(serve, dial) as (_, attacker):
        await attacker.send(*[raw.headers(n, raw.request_headers("/t/Watched")) for n in range(1, 201, 2)])
        await flood(attacker, raw.settings(initial_window=1) * 3)
        await calmed(attacker)


async def test_a_frame_of_thousands_of_settings(serve: Serve, dial: Dial) -> None:
    """No client has more than ten to say."""
    async with unharmed(serve, dial) as (_, attacker):
        await attacker.send(raw.frame(raw.SETTINGS, 0, 0, b"\0\4\0\0\0\1" * 2_000))
        await calmed(attacker)


@pytest.mark.parametrize("broken", [raw.window(1, 0), raw.window(1, 2**31 - 1)])
async def test_resets_that_the_client_makes_us_send_count_as_its_own(serve: Serve, dial: Dial, broken: bytes) -> None:
    """MadeYouReset (CVE-2025-8671): the stream is free at once and its work is not, as after a rapid reset."""
    async with unharmed(serve, dial) as (_, attacker):
        for stream in range(1, 121, 2):
            opened = raw.headers(stream, raw.request_headers("/t/Watched"))
            await flood(attacker, opened, broken[:5] + stream.to_bytes(4, "big") + broken[9:])
        await calmed(attacker)


async def test_credit_for_one_stream_wakes_no_other(serve: Serve, dial: Dial) -> None:
    """A hundred senders that wait cost nothing when another stream, or the connection for nothing, gets credit."""
    lane = await serve(methods(Watched=Method(Watched(), bytes)))
    client = await dial(raw.PREFACE + raw.settings(initial_window=0))
    opened = [raw.headers(n, raw.request_headers("/t/Watched")) for n in range(1, 201, 2)]
    await client.send(*opened, PING)
    await client.until(raw.PING, 0, raw.ACK)
    (connection,) = lane.connections
    rooms = dict(connection.outflow._rooms)
    await client.send(raw.window(0, 5_000), raw.window(1, 100), PING)
    await client.until(raw.DATA, 1)

    assert len(rooms) == 100
    assert [stream for stream, room in rooms.items() if room.done()] == [1]
    assert connection.outflow.waiting == 0


async def test_whoever_waits_for_the_window_of_the_connection_is_woken_by_it(serve: Serve, dial: Dial) -> None:
    """All of them, since each may go on."""
    lane = await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=2**20))
    for stream in (1, 3, 5):
        await client.send(raw.call(stream, "/t/Upper", bytes(65_535)))
    received = 0
    while received < 65_535:
        got = await client.frame()
        received += len(got.payload) if got.kind == raw.DATA else 0
    (connection,) = lane.connections
    await client.send(PING)
    await client.until(raw.PING, 0, raw.ACK)
    assert connection.outflow.waiting == 3

    await client.send(raw.window(0, 2**20))
    assert (await client.until(raw.HEADERS, 1, raw.END_STREAM))["grpc-status"] == "0"


async def test_a_peer_that_takes_nothing_is_left_behind(serve: Serve, dial: Dial) -> None:
    """It has answered pings and given no credit: its call ends with UNAVAILABLE, its handler hears of it at once."""
    heard: list[Status] = []

    async def pour(call: Call) -> None:
        try:
            await call.send(bytes(100))
        except Status as status:
            heard.append(status)
            raise

    lane = await serve(methods(Pour=Method(pour, bytes)), limits=Limits(send_seconds=0.05))
    client = await dial(raw.PREFACE + raw.settings(initial_window=10))
    await client.send(raw.call(1, "/t/Pour", b""))
    end = await client.until(raw.HEADERS, 1, raw.END_STREAM)

    assert (end["grpc-status"], end["grpc-message"][:31]) == ("14", "the client reads too slowly; ca")
    assert [status.code for status in heard] == [14]
    (connection,) = lane.connections
    assert not connection.calls
    assert not connection.outflow._rooms


async def test_a_task_beside_the_handler_that_is_left_behind_ends_the_handler_too(serve: Serve, dial: Dial) -> None:
    """Whoever sends, the call is over for all."""
    watched = Watched()

    async def beside(call: Call) -> None:
        task = asyncio.create_task(call.send(bytes(100)))
        try:
            await watched(call)
        finally:
            with contextlib.suppress(Status):
                await task

    await serve(methods(Beside=Method(beside, bytes)), limits=Limits(send_seconds=0.05))
    client = await dial(raw.PREFACE + raw.settings(initial_window=10))
    await client.send(raw.call(1, "/t/Beside", b""))
    assert (await client.until(raw.HEADERS, 1, raw.END_STREAM))["grpc-status"] == "14"


@pytest.mark.parametrize("said", [b"", message(b"hello")[:7]])
async def test_a_request_that_never_comes_is_not_waited_for(serve: Serve, dial: Dial, said: bytes) -> None:
    """Slowloris: a call that is opened and dripped, or left empty, ends by the clock; one that was heard goes on."""
    watched = Watched()
    lane = await serve(methods(Watched=Method(watched, bytes)), limits=Limits(request_seconds=5))
    client = await dial()
    await client.send(raw.headers(1, raw.request_headers("/t/Upper")), raw.data(1, said) if said else b"")
    await client.send(raw.headers(3, raw.request_headers("/t/Watched")), raw.data(3, message(b"all of it")))
    await client.until(raw.DATA, 3)
    (connection,) = lane.connections
    begun = connection.calls[1].begun
    connection.tick(begun + 5)
    assert not connection.calls[1].done
    connection.tick(begun + 5.1)

    assert (await client.response(1))[1]["grpc-status"] == "4"
    assert list(connection.calls) == [3]


async def test_headers_that_never_end_lose_the_connection(serve: Serve, dial: Dial) -> None:
    """Whoever is within a header block cannot answer a ping, and so is silent: no timer of its own is needed."""
    lane = await serve()
    client = await dial()
    await client.send(raw.frame(raw.HEADERS, 0, 1, b"\x83"), raw.frame(raw.CONTINUATION, 0, 1, b"\x86"))
    await client.until(raw.SETTINGS, 0, raw.ACK)
    (connection,) = lane.connections
    heard = connection.watch.heard
    connection.tick(heard + 61)
    await client.until(raw.PING)
    await client.send(raw.frame(raw.PING, raw.ACK, 0, b"ringping"))

    assert raw.goaway_code(await client.ended()) == 1
    assert not lane.connections


async def test_a_preface_that_is_dripped_loses_the_connection(serve: Serve, dial: Dial) -> None:
    """Bytes that come keep nobody here who has not greeted in time."""
    lane = await serve()
    client = await dial(raw.PREFACE[:5])
    await client.frame()  # our settings, which are said at once
    (connection,) = lane.connections
    await client.send(raw.PREFACE[5:6])
    connection.tick(connection.watch._made + 10.1)
    await client.ended()
    assert not lane.connections


@pytest.mark.parametrize("size", [100, 10_000_000])
async def test_a_compressed_message_is_refused_unread(serve: Serve, dial: Dial, size: int) -> None:
    """Nothing is ever inflated, so that a bomb is as small as it looks; the client learns what it may send."""
    async with unharmed(serve, dial) as (_, client):
        bomb = zlib.compress(bytes(size))
        fields = raw.request_headers("/t/Upper", ("grpc-encoding", "deflate"))
        await client.send(raw.headers(1, fields))
        await client.send(raw.data(1, b"\1" + len(bomb).to_bytes(4, "big") + bomb, end=True))
        _, end = await client.response(1)
        assert (end["grpc-status"], end["grpc-accept-encoding"]) == ("12", "identity")
        client.abort()
        await client.ended()


async def test_grpcio_that_compresses_is_told_so(serve: Serve, socket_path: str) -> None:
    """UNIMPLEMENTED, as gRPC's compression.md says for an encoding that is not known."""
    await serve()
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
        call = channel.unary_unary("/t/Upper")(bytes(5_000), compression=grpc.Compression.Gzip)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "block", [b"\x82" * 16_000, b"\x40\x01a\x7f\xf1\x7e" + b"y" * 16_240, b"\x7f" + b"\xff" * 16_000]
)
async def test_header_bombs_cost_no_more_than_their_bound(serve: Serve, dial: Dial, block: bytes) -> None:
    """Thousands of indexed fields, one field as long as a frame, a number without end: the connection is over."""
    async with unharmed(serve, dial) as (_, attacker):
        await attacker.send(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, block))
        assert raw.goaway_code(await attacker.ended()) in {9, CALM}


async def test_a_table_that_is_filled_and_referred_to_is_bounded(serve: Serve, dial: Dial) -> None:
    """HPACK's own bomb (CVE-2016-6581): 4 KiB in the table, named by one byte a field."""
    async with unharmed(serve, dial) as (_, attacker):
        entry = b"\x40\x01x\x7f\x80\x1e" + b"y" * 3_967
        await attacker.send(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, entry + b"\xbe" * 12_000))
        await calmed(attacker)
