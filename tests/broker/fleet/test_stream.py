"""One stream: frames shared with others, turns that leave room, and readers that are slow."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from ringfence.broker.fleet.stream import Stream
from ringfence.broker.fleet.turns import Turns
from ringfence.proto.lane import Framed
from ringfence.proto.status import Code, Status
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest, Out
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import EXTENSION_CONFIG
from tests.broker.fleet.world import FakeCall
from tests.xds.streams import resource, snapshot

ASKS = DeltaRequest(EXTENSION_CONFIG, ("e",))


class World:
    """A content that can be changed, and the streams that send it."""

    def __init__(self) -> None:
        self.content = 0
        self.sent: list[Out] = []

    def compiled(self) -> tuple[Snapshot, int]:
        """The snapshot now."""
        return snapshot((EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "e", str(self.content)))), self.content

    def stream(self, call: FakeCall) -> Stream:
        """A stream on *call*, ready."""
        made = Stream(call, DeltaStream(), self.compiled, self.sent.append)
        made.pump()
        return made


async def test_equal_bytes_are_one_frame_on_every_stream() -> None:
    """However different their histories: the older stream has sent more."""
    world, old, new = World(), FakeCall(), FakeCall()
    streams = [world.stream(old)]
    await streams[0].receive(ASKS)
    await streams[0].receive(ASKS)
    streams.append(world.stream(new))
    await streams[1].receive(ASKS)
    world.content += 1
    for stream in streams:
        stream.dirty = True
        stream.pump()

    assert old.sent[-1] is new.sent[-1]
    assert len(world.sent) == 5


async def test_a_call_that_has_ended_is_left_alone() -> None:
    """Nothing is compiled or sent for it."""
    world, call = World(), FakeCall()
    stream = world.stream(call)
    await stream.receive(ASKS)
    call.done = True
    stream.dirty = True
    stream.pump()

    assert len(call.sent) == 1
    assert stream.dirty


async def test_a_reader_that_goes_away_while_it_is_waited_for_ends_the_wait() -> None:
    """Its handler hears of it elsewhere."""
    world, call = World(), FakeCall(room=0)

    async def gone(_: Framed) -> None:
        call.done = True
        raise Status(Code.CANCELLED, "the call has ended")

    call.send = gone  # type: ignore[method-assign,assignment]
    stream = world.stream(call)
    await stream.receive(ASKS)
    for _ in range(3):
        await asyncio.sleep(0)

    assert stream._draining is None
    assert not world.sent


async def test_who_asks_and_does_not_read_has_to_wait() -> None:
    """The answers that wait are bounded, and the wait ends with the stream."""
    world, call, gate = World(), FakeCall(room=0), asyncio.Event()

    async def never(_: Framed) -> None:
        await gate.wait()

    call.send = never  # type: ignore[method-assign,assignment]
    stream = world.stream(call)

    async def ask() -> None:
        while True:
            await stream.receive(ASKS)

    asking = asyncio.create_task(ask())
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(stream._outbox) == 65
    asking.cancel()
    stream.close()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_stream_is_renewed_once_however_often_it_is_asked_for() -> None:
    """Two changes in one turn of the loop are one push."""
    world, call, turns = World(), FakeCall(), Turns()
    stream = world.stream(call)
    await stream.receive(ASKS)
    for _ in range(3):
        world.content += 1
        turns.renew(stream)
    await asyncio.sleep(0)

    assert len(call.sent) == 2
    turns.renew(stream)
    await asyncio.sleep(0)
    assert len(call.sent) == 2, "equal content is not sent again"


async def test_one_broken_stream_does_not_end_the_turns_of_others() -> None:
    """Its fault is logged, and pushing goes on."""
    world, bad, good, turns = World(), FakeCall(), FakeCall(), Turns()
    streams = [world.stream(bad), world.stream(good)]
    for stream in streams:
        await stream.receive(ASKS)

    def broken(_: Framed) -> bool:
        raise ValueError

    bad.try_send = broken  # type: ignore[method-assign,assignment]
    with capture_logs() as logged:
        for _ in range(2):
            world.content += 1
            for stream in streams:
                turns.renew(stream)
            await asyncio.sleep(0)

    assert len(good.sent) == 3
    assert {line["event"] for line in logged} == {"push failed"}
