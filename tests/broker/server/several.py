"""Two whole servers on one PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ringfence.broker.store.location import Location
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import Node

WORKLOAD = "spiffe://example.org/ns/a/sa/web"


@asynccontextmanager
async def both(location: Location, folder: Path) -> AsyncIterator[tuple[ServerUnderTest, ServerUnderTest]]:
    """Two servers; the second one is new."""
    for name in "ab":
        await asyncio.to_thread((folder / name).mkdir)
    async with (
        running_server(folder / "a", database=location) as a,
        running_server(folder / "b", database=location) as b,
    ):
        yield a, b


async def seen(server: ServerUnderTest, what: Callable[[], Any]) -> None:
    """Wait until *what*() is so, looking whenever *server* has caught up with the feed."""
    async with asyncio.timeout(30):
        while not what():
            await server.parts.feed.catch_up()
            await asyncio.sleep(0)


async def moved(node: Node, server: ServerUnderTest) -> Node:
    """The same node, when it connects to *server*."""
    node.address = server.address
    return node
