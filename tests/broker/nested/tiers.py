"""Servers below each other in this process, each with an agent of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringfence.broker.address import Address
from ringfence.broker.nested.choice import AboveChoice
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent
from tests.broker.server.harness import ServerUnderTest, running_server

BELOW = "spiffe://example.org/servers/below"


@dataclass(frozen=True, slots=True)
class Tier:
    """A server, and an agent that is attached to it."""

    server: ServerUnderTest
    agent: AgentUnderTest

    @property
    def as_above(self) -> AboveChoice:
        """How a server below is told of it."""
        address = Address.parse(self.server.address, flag="")
        return AboveChoice(address, str(self.agent.socket), spiffe_id=BELOW)


@asynccontextmanager
async def tier(folder: Path, above: Tier | None = None, *, joined: bool = False, **options: Any) -> AsyncIterator[Tier]:
    """A server in *folder* below *above*, and its agent; *joined*: both have been there before."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    if above is not None:
        options["above"] = above.as_above
    async with running_server(folder, **options) as server, running_agent(folder, server, joined=joined) as agent:
        if not joined:
            await server.create_entry(BELOW, OWN_UID, downstream=True)
        yield Tier(server, agent)
