"""The lane on uvloop, where the daemons run it: sockets, peers, slow readers, a drain."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from ringfence.proto.lane import Call, Lane, Method, Peer
from tests.proto.lane import raw
from tests.proto.lane.handlers import Watched, methods
from tests.proto.lane.raw import message
from tests.proto.lane.test_listener import Issuer


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


async def strangers(folder: Path) -> list[int]:
    """Two clients: one that just hangs up, and one with a certificate that no root of ours signed."""
    issuer, other = Issuer("ours", folder), Issuer("theirs", folder)
    told: asyncio.Queue[int] = asyncio.Queue()
    lane = Lane(methods(), on_untrusted=lambda error: told.put_nowait(error.verify_code))
    context = issuer.context()
    port = await lane.listen_tcp("127.0.0.1", 0, lambda: context)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    shown = ssl.create_default_context(cadata=issuer.pem.decode())
    key, certificate, _ = other.leaf("stranger")
    (folder / "stranger.pem").write_bytes(key + certificate)
    shown.load_cert_chain(folder / "stranger.pem")
    with suppress(OSError):  # before or after the handshake is over on this side
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=shown, server_hostname="localhost")
        await reader.read()
        writer.transport.abort()
    async with asyncio.timeout(30):
        first = await told.get()
    await lane.close()
    return [first, *(told.get_nowait() for _ in range(told.qsize()))]


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_certificate_that_does_not_verify_is_told_of(run: Callable[..., list[int]], tmp_path: Path) -> None:
    """With OpenSSL's word for it, on either loop; other handshakes that fail are nobody's business."""
    assert run(strangers(tmp_path)) == [20]  # unable to get local issuer certificate
