"""A connection to the store waits until somebody answers, and then is as any other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.broker.run.isolate_relay import Relays
from ringfence.broker.run.rendezvous_relay import hold
from tests.broker.run.test_isolate_relay import fresh

PATIENCE = 30.0
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Store:
    """The far end, which closes as many connections as it is told to before it answers one."""

    def __init__(self, path: Path, refusing: int) -> None:
        self.path, self.refusing = path, refusing
        self.heard: list[bytes] = []
        self.closed: asyncio.Queue[None] = asyncio.Queue()
        self.answered: asyncio.Queue[Ends] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear the first request; close, or hand the connection to the test."""
        self.heard.append(await reader.read(5))
        if len(self.heard) <= self.refusing:
            writer.close()
            await self.closed.put(None)
        else:
            await self.answered.put((reader, writer))


@pytest.fixture
async def ways(short_path: Path) -> AsyncIterator[tuple[Path, Path]]:
    """Where a client connects, and where the store will be."""
    near, far, relays = short_path / "near", short_path / "far", Relays()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(near))
    relays.start(listening, lambda: fresh(far), hold)
    async with asyncio.timeout(PATIENCE):
        yield near, far
    await relays.close()


async def test_what_was_said_is_said_again_until_somebody_answers(ways: tuple[Path, Path]) -> None:
    """Nobody there, then a proxy that closes at once, then the store: the client sees one connection."""
    near, far = ways
    reader, writer = await asyncio.open_unix_connection(near)
    writer.write(b"hello")
    store = Store(far, refusing=3)
    async with await asyncio.start_unix_server(store.serve, far):
        hearing, answering = await store.answered.get()
        answering.write(b"welcome")
        assert await reader.readexactly(7) == b"welcome"
        assert store.heard == [b"hello"] * 4
        # Once it has answered, nothing is said twice.
        writer.write(b"more")
        assert await hearing.readexactly(4) == b"more"
        writer.write_eof()
        assert await hearing.read() == b""
        answering.write(b"bye")
        answering.close()
        assert await reader.read() == b"bye"
        writer.close()


async def test_a_store_that_ends_ends_the_connection(ways: tuple[Path, Path]) -> None:
    """It is not held a second time: what the store knew is gone."""
    near, far = ways
    store = Store(far, refusing=0)
    async with await asyncio.start_unix_server(store.serve, far):
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"hello")
        _, answering = await store.answered.get()
        answering.write(b"x")
        assert await reader.readexactly(1) == b"x"
        answering.close()
        assert await reader.read() == b""
        assert len(store.heard) == 1
        writer.close()


async def test_a_client_that_gives_up_is_held_no_longer(ways: tuple[Path, Path]) -> None:
    """Its store is dialled no more."""
    near, far = ways
    store = Store(far, refusing=10_000)
    async with await asyncio.start_unix_server(store.serve, far):
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"hello")
        for _ in range(2):
            await store.closed.get()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_much_goes_through_both_ways(ways: tuple[Path, Path]) -> None:
    """More than any buffer holds, before the first answer and after."""
    near, far = ways
    data = bytes(range(256)) * 16384  # 4 MiB

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await reader.readexactly(5)
        writer.write(b"!")
        found += await reader.readexactly(len(data))
        writer.write(found)
        writer.close()

    async with await asyncio.start_unix_server(answer, far):
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"hello" + data)
        assert await reader.readexactly(1) == b"!"
        assert await reader.read() == b"hello" + data
        writer.close()
