"""An agent that is told several servers of one database, when the one that it uses goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.ring import Ring
from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.postgres import Cluster

ID = "spiffe://example.org/ns/a/sa/%s"


@pytest.fixture
def location(postgres: Cluster) -> Iterator[Location]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield Location.parse(url)


def address(server: ServerUnderTest) -> Address:
    """Where it listens."""
    return Address.parse(server.address, flag="--server")


@pytest.mark.postgres
async def test_an_agent_goes_on_with_another_server(tmp_path: Path, location: Location) -> None:
    """Its open stream ends never; what is registered next comes from the server that is left."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        await asyncio.to_thread(folder.mkdir)
    async with AsyncExitStack() as stack, workload_client(tmp_path / "agent.sock") as client:
        closes = [await stack.enter_async_context(AsyncExitStack()) for _ in folders]
        servers = [
            await close.enter_async_context(running_server(folder, database=location))
            for close, folder in zip(closes, folders, strict=True)
        ]
        more = tuple(map(address, servers[1:]))
        agent = await stack.enter_async_context(running_agent(tmp_path, servers[0], more_servers=more))
        await servers[0].create_entry(ID % "one", OWN_UID)
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)
        assert len((await call.read()).svids) == 1
        assert agent.agent is not None
        used = agent.agent._node.ring.address
        gone = next(i for i, server in enumerate(servers) if address(server) == used)
        await closes[gone].aclose()
        await servers[1 - gone].create_entry(ID % "two", OWN_UID)
        while len((await call.read()).svids) < 2:
            pass
        assert agent.agent._node.ring.address != used
        call.cancel()


async def test_a_refusal_counts_when_no_server_says_anything_else() -> None:
    """One that is behind the others, or a stranger at one address, must not make an agent think that it is put out."""
    ring = Ring([Address("127.0.0.1", port) for port in (1, 2, 3)])
    link = Link(Dialler(ring.address, lambda: Trust(TRUST_DOMAIN, None), lambda: None), None, ring=ring)  # type: ignore[arg-type]
    refusal, away = (RingfenceError(kind, "no") for kind in (Kind.DENIED, Kind.UNAVAILABLE))
    for error in (refusal, away):
        link._note(error)
        ring.move_on()
        assert not link.refused.is_set()
    link._note(refusal)
    assert link.refused.is_set()
