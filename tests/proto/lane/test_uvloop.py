"""The lane on uvloop, where the daemons run it: sockets, peers, slow readers, a drain."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import uvloop

from ringfence.proto.lane import Call, Lane, Method, Peer
from tests.proto.lane import raw
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import message


async def scenario(path: str) -> list[Peer]:
    """One client: a call, a message larger than its window, a slow read of much, a drain under an open stream."""
    peers: list[Peer] = []

    async def pour(call: Call) -> None:
        while call.try_send(bytes(10_000)):
            pass
        await call.send(b"last")

    watched = Watched()
    lane = Lane(
        methods(Pour=Method(pour, bytes), Watched=Method(watched, bytes)),
        on_connect=lambda connection: peers.append(connection.peer),
    )
    await lane.listen_unix(path)
    client = await raw.Raw.connect(path)
    await client.send(raw.call(1, "/t/Upper", b"hello"))
    assert (await client.response(1))[0] == message(b"HELLO")
    await client.send(raw.settings(initial_window=2**31 - 1), raw.window(0, 2**30), raw.call(3, "/t/Pour", b""))
    body, end = await client.response(3)
    assert body.endswith(message(b"last"))
    assert end["grpc-status"] == "0"
    big = bytes(2**20)
    await client.send(raw.call(5, "/t/Upper", big))
    assert len((await client.response(5))[0]) == len(big) + 5
    await client.send(raw.call(7, "/t/Watched", b""))
    await client.until(raw.DATA, 7)
    await lane.drain(0)
    assert (await client.response(7))[1]["grpc-status"] == "14"
    assert watched.cancelled.is_set()
    await client.close()
    return peers


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_both_loops(run: object, tmp_path: Path) -> None:
    """The same happens on either loop, and the peer is known on both."""
    assert callable(run)
    (peer,) = run(scenario(str(tmp_path / "s")))
    assert peer.pid == os.getpid()
