"""Relays carry every byte both ways, each end as it comes, and end as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.broker.run.isolate_relay import Relays

PATIENCE = 30.0


async def fresh(path: Path) -> socket.socket:
    """A connection to the socket at *path*."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, str(path))
    except OSError:
        sock.close()
        raise
    return sock


@pytest.fixture
async def ways(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Path, Path, Relays]]:
    """Where the relay listens, where it dials, and all relays."""
    folder = tmp_path_factory.mktemp("r")
    near, far, relays = folder / "near", folder / "far", Relays()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(near))
    relays.start(listening, lambda: fresh(far))
    yield near, far, relays
    await relays.close()


async def test_each_side_says_its_last_by_itself(ways: tuple[Path, Path, Relays]) -> None:
    """More than any buffer holds goes through, and who is done talking still listens (RFC 9293 section 3.6)."""
    near, far, _ = ways
    data = bytes(range(256)) * 16384

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await reader.read()
        writer.write(found[::-1])
        await writer.drain()
        writer.close()

    async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(answer, far):
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data[::-1]
        writer.close()


async def test_nobody_on_the_other_side_ends_the_connection_and_not_the_relay(ways: tuple[Path, Path, Relays]) -> None:
    """As a port on which nobody listens; the next one who dials finds whoever listens by then."""
    near, far, _ = ways
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_unix_connection(near)
        assert await reader.read() == b""
        writer.close()
        async with await asyncio.start_unix_server(lambda _, answering: answering.close(), far):
            reader, writer = await asyncio.open_unix_connection(near)
            assert await reader.read() == b""
            writer.close()


async def test_one_side_that_is_reset_ends_the_other(ways: tuple[Path, Path, Relays]) -> None:
    """A workload that dies with bytes unread takes its caller's connection along."""
    near, far, _ = ways
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(far))
        listening.listen()
        listening.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            caller = await fresh(near)
            served, _ = await loop.sock_accept(listening)
            with caller:
                await loop.sock_sendall(caller, b"never read")
                served.setblocking(False)
                assert await loop.sock_recv(served, 1) == b"n"
                served.close()
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(caller, 1) == b""


async def test_closing_ends_every_connection(ways: tuple[Path, Path, Relays]) -> None:
    """Nothing listens any more, and what was open is closed."""
    near, far, relays = ways
    async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(_stay, far):
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        await relays.close()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(near)


async def _stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while found := await reader.read(1):
        writer.write(found)
    writer.close()
