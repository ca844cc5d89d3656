"""Lanes on Unix sockets, and clients that are closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from ringfence.proto.lane import Lane
from tests.proto.lane.handlers import methods
from tests.proto.lane.raw import Raw

Serve = Callable[..., Awaitable[Lane]]
Dial = Callable[..., Awaitable[Raw]]


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    """Where the lane of this test listens."""
    return str(tmp_path / "lane.sock")


@pytest.fixture
async def serve(socket_path: str) -> AsyncIterator[Serve]:
    """Start a lane on the socket, closed after the test."""
    lanes: list[Lane] = []

    async def start(served: Any = None, **options: Any) -> Lane:
        lane = Lane(methods() if served is None else served, **options)
        lanes.append(lane)
        await lane.listen_unix(socket_path)
        return lane

    yield start
    for lane in lanes:
        await lane.close()


@pytest.fixture
async def channel(socket_path: str) -> AsyncIterator[grpc.aio.Channel]:
    """A grpcio client of the socket."""
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as made:
        yield made


@pytest.fixture
async def dial(socket_path: str) -> AsyncIterator[Dial]:
    """Connect a scripted client, which has sent the preface unless told what to send."""
    clients: list[Raw] = []

    async def connect(first: bytes | None = None) -> Raw:
        clients.append(await Raw.connect(socket_path, first))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()
