"""Members of fabrics when a server is killed, and when there are two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy import Connection

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.server.upkeep import tend
from ringfence.broker.store import fabric_claims
from ringfence.broker.store.location import Location
from ringfence.fabric.membership import GRACE, Standing
from tests.broker.server.fabrics import TRAINER, Ahead, claim_of, entry_of, intent, on_fabric, until
from tests.broker.server.harness import ServerUnderTest, running_server, server_process
from tests.broker.server.node import Node, drain, joined
from tests.broker.server.test_audit import records
from tests.ports import free_port
from tests.postgres import Cluster

A, B, C = "10.91.0.1", "10.91.0.2", "10.91.0.3"


@pytest.fixture
def location(postgres: Cluster) -> Iterator[Location]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield Location.parse(url)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_killed_server_keeps_its_members(tmp_path: Path) -> None:
    """What a node was told before the kill it is told after it, while the other node is not back yet."""
    port, http = free_port(), free_port()
    async with server_process(tmp_path, port=port, http_port=http) as server:
        await server.apply(intent())
        entry = await entry_of(server)
        nodes = [await joined(server), await joined(server)]
        async with on_fabric(nodes[0]) as one, on_fabric(nodes[1]) as two:
            await one.claim(claim_of(entry, A))
            await two.claim(claim_of(entry, B))
            await one.until(lambda node: node.members() == {A, B})
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
            with pytest.raises(grpc.aio.AioRpcError):
                await drain(one.stream.call)
    async with server_process(tmp_path, port=port, http_port=http) as server, on_fabric(nodes[0]) as one:
        assert one.members() == {A, B}
        await one.claim(claim_of(entry, A))
        async with on_fabric(nodes[1]) as two:
            assert two.members() == {A, B}
            await two.claim()
            await one.until(lambda node: node.members() == {A})


@asynccontextmanager
async def both(
    location: Location, folder: Path, clock: Ahead
) -> AsyncIterator[tuple[ServerUnderTest, ServerUnderTest]]:
    """Two servers on one database, with the intent applied at the first."""
    for name in "ab":
        await asyncio.to_thread((folder / name).mkdir)
    async with (
        running_server(folder / "a", database=location, clock=clock) as a,
        running_server(folder / "b", database=location, clock=clock) as b,
    ):
        await a.apply(intent())
        yield a, b


async def at(node: Node, server: ServerUnderTest) -> Node:
    """The same node, when it connects to *server*."""
    node.address = server.address
    return node


@pytest.mark.postgres
async def test_nodes_of_two_servers_are_told_of_each_other(tmp_path: Path, location: Location) -> None:
    """What is claimed at one shows at the other, and so does what takes it away, wherever that is said."""
    async with both(location, tmp_path, Ahead()) as (a, b):
        entry = await entry_of(a)
        async with on_fabric(await joined(a)) as one, on_fabric(await at(await joined(a), b)) as two:
            await one.claim(claim_of(entry, A))
            await two.claim(claim_of(entry, B))
            for node in (one, two):
                await node.until(lambda node: node.members() == {A, B})
            await one.claim()
            await two.until(lambda node: node.members() == {B})
            await one.claim(claim_of(entry, A))
            await two.until(lambda node: node.members() == {A, B})
            await b.admin.RevokeIdentities(admin.RevokeIdentitiesRequest(spiffe_ids=[TRAINER]))
            for node in (one, two):
                await node.until(lambda node: node.members() == set())


@pytest.mark.postgres
async def test_of_two_nodes_at_two_servers_one_has_an_address(tmp_path: Path, location: Location) -> None:
    """The other one is refused by its own server, and has it when the first has left."""
    async with both(location, tmp_path, Ahead()) as (a, b):
        entry = await entry_of(a)
        async with on_fabric(await joined(a)) as one, on_fabric(await at(await joined(a), b)) as two:
            for node in (one, two):
                await node.claim(claim_of(entry, A))
            for node in (one, two):
                await node.until(lambda node: bool(node.refusals) or node.members() == {A})
            [winner] = [node for node in (one, two) if node.members() == {A}]
            [loser] = [node for node in (one, two) if node.refusals]
            assert f"{A} is that of node {winner.node.spiffe_id}" in loser.refusals[0]
            await winner.claim()
            await loser.until(lambda node: node.members() == {A} and not node.refusals)


@pytest.mark.postgres
async def test_a_node_that_moves_to_another_server_is_a_member_all_the_time(tmp_path: Path, location: Location) -> None:
    """Also when its old stream is not known to be lost yet: that one has no say any more, whatever it said."""
    clock = Ahead()
    async with both(location, tmp_path, clock) as (a, b):
        entry, mover = await entry_of(a), await joined(a)
        async with on_fabric(await joined(a)) as one:
            await one.claim(claim_of(entry, A))
            async with on_fabric(mover) as old:
                await old.claim(claim_of(entry, B))
                await one.until(lambda node: node.members() == {A, B})
                async with on_fabric(await at(mover, b)) as new:
                    assert new.members() == {A, B}
                    await new.claim(claim_of(entry, B, C))
                    await one.until(lambda node: node.members() == {A, B, C})
                    await until(lambda: _server_of(a, mover) == b.parts.servers.me.id)
                    revision = one.held.revision
                    await new.claim()
                    await one.until(lambda node: node.members() == {A})
                    assert one.held.revision > revision
                    await until(lambda: not _rows(a, mover))
                    await new.claim(claim_of(entry, B, C))
                    await one.until(lambda node: node.members() == {A, B, C})
            # The old stream ends, and nothing comes of it.
            a.parts.agent_api.bell.ring()
            assert _server_of(a, mover) in {"", b.parts.servers.me.id}
        joins = [*await records(a.data_dir, "fabric.join"), *await records(b.data_dir, "fabric.join")]
        assert [record.result for record in joins] == ["ok"] * 4


@pytest.mark.postgres
async def test_claims_of_a_server_that_is_gone_go_in_time(tmp_path: Path, location: Location) -> None:
    """Nobody else knows whether its nodes live: they have a while to come to another server."""
    clock = Ahead()
    async with both(location, tmp_path, clock) as (a, _):
        entry, lost = await entry_of(a), await joined(a)
        async with on_fabric(await joined(a)) as one:
            await one.claim(claim_of(entry, A))
            await one.until(lambda node: node.members() == {A})
            await asyncio.to_thread((tmp_path / "c").mkdir)
            async with running_server(tmp_path / "c", database=location, clock=clock) as c:
                lost.roots = c.bundle_pem
                async with on_fabric(await at(lost, c)) as two:
                    await two.claim(claim_of(entry, B))
                    await one.until(lambda node: node.members() == {A, B})
                # As it is after a kill: nobody wrote that the stream is lost.
                await until(lambda: all(row.leaves for row in _rows(c, lost)))
                await c.parts.store.run(_connected, c.parts.servers.me.id)
            async with asyncio.timeout(30):
                while [row.server for row in _rows(a, lost)] != [""]:
                    await tend(a.parts)  # the database may take a moment to notice that it is gone
            assert one.members() == {A, B}
            clock.put(a, GRACE + 1)
            await one.until(lambda node: node.members() == {A})


def _connected(connection: Connection, server: str) -> None:
    rows = [row for row in fabric_claims.every(connection) if row.server == server]
    fabric_claims.put(connection, [replace(row, leaves=0) for row in rows], 0)


def _rows(server: ServerUnderTest, node: Node) -> list[Standing]:
    return [row for row in server.parts.admitting.members.rows if row.claim.agent == node.spiffe_id]


def _server_of(server: ServerUnderTest, node: Node) -> str:
    return next((row.server for row in _rows(server, node)), "")
