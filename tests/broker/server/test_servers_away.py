"""Of several servers on one PostgreSQL one ends, is restarted or forgotten; or the database is away from all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.server.daemon import system_clock
from ringfence.broker.server.upkeep import tend
from ringfence.broker.store.connect import LIVING
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.location import Location
from ringfence.certs.errors import RingfenceError
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.broker.server.node import joined
from tests.broker.server.several import WORKLOAD, both, moved, seen
from tests.broker.world import Clock
from tests.postgres import Cluster

pytestmark = pytest.mark.postgres


@pytest.fixture
def location(postgres: Cluster) -> Iterator[Location]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield Location.parse(url)


async def listed(server: ServerUnderTest) -> list[tuple[str, bool, bool, bool]]:
    """What *server* says of all: id, and whether it lives, answers, and is on duty."""
    found = await server.admin.ListServers(pb.ListServersRequest())
    return [(one.id, one.living, one.here, one.on_duty) for one in found.servers]


async def ended(server_id: str, at: ServerUnderTest) -> None:
    """Wait until the database has noticed that this server closed its connection: *at* lists it as gone."""
    async with asyncio.timeout(20):
        while any(one == server_id and living for one, living, _, _ in await listed(at)):
            pass


async def test_servers_are_listed_and_one_that_is_gone_can_be_forgotten(tmp_path: Path, location: Location) -> None:
    """Not while it lives. What it signed stays good until it ends, then its authorities leave the bundle."""
    clock = Clock()
    clock.now = system_clock()
    for name in "ab":
        await asyncio.to_thread((tmp_path / name).mkdir)
    async with running_server(tmp_path / "a", database=location, clock=clock) as a:
        async with running_server(tmp_path / "b", database=location, clock=clock) as b:
            gone = b.parts.servers.me.id
            await seen(a, lambda: gone in a.parts.servers.known)
            assert await listed(a) == [(a.parts.servers.me.id, True, True, True), (gone, True, False, False)]
            with pytest.raises(grpc.aio.AioRpcError, match="is alive"):
                await a.admin.ForgetServer(pb.ForgetServerRequest(id=gone))
        both_roots = a.parts.trust.bundle.x509_authorities
        assert len(both_roots) == 2
        await ended(gone, a)
        # 1. A rehearsal changes nothing.
        asked = await a.admin.ForgetServer(pb.ForgetServerRequest(id=gone, dry_run=True))
        assert len(await listed(a)) == 2
        # 2. It is no server any more; the SVID that it had is still good.
        done = await a.admin.ForgetServer(pb.ForgetServerRequest(id=gone))
        assert done.until == asked.until > clock().timestamp()
        assert [one[0] for one in await listed(a)] == [a.parts.servers.me.id]
        await a.parts.trust.drop_retired()
        assert a.parts.trust.bundle.x509_authorities == both_roots
        # 3. With its last SVID it is gone from the bundle, under a higher sequence.
        sequence = a.parts.trust.bundle.sequence
        clock.now += timedelta(seconds=done.until - clock().timestamp() + 1)
        await a.parts.trust.drop_retired()
        assert set(a.parts.trust.bundle.x509_authorities) < set(both_roots)
        assert a.parts.trust.bundle.sequence > sequence
        # 4. It is not to be had back.
        with pytest.raises(grpc.aio.AioRpcError, match="no server"):
            await a.admin.ForgetServer(pb.ForgetServerRequest(id=gone))


async def test_a_server_that_was_restarted_holds_up_no_rotation(tmp_path: Path, location: Location) -> None:
    """It says anew what it shows, though nothing was published since."""
    async with both(location, tmp_path) as (a, b):
        restarted = b.parts.servers.me.id
    async with (
        running_server(tmp_path / "a", database=location) as a,
        running_server(tmp_path / "b", database=location),
    ):
        sequence = a.parts.trust.bundle.sequence
        await seen(a, lambda: a.parts.servers.known[restarted].shows == sequence)


async def test_a_forgotten_server_does_not_start_while_its_authorities_are_shown(
    tmp_path: Path, location: Location
) -> None:
    """It would sign what nobody is to trust much longer."""
    async with both(location, tmp_path) as (a, _):
        pass
    async with running_server(tmp_path / "b", database=location) as b:
        await ended(a.parts.servers.me.id, b)
        await b.admin.ForgetServer(pb.ForgetServerRequest(id=a.parts.servers.me.id))
        with pytest.raises(RingfenceError, match="forgotten"):
            async with running_server(tmp_path / "a", database=location):
                pass


async def test_what_proxies_of_a_dead_server_said_is_dropped_when_it_stays_away(
    tmp_path: Path, location: Location
) -> None:
    """At the second look, a minute after the first: a server that is only restarted finds its proxies' words."""
    async with both(location, tmp_path) as (a, b):
        await b.parts.proxies._kept.put("a/b#n", [EndpointRow("a/b", "http", "10.0.0.1", 80, "a/b#n")])
        endpoints = a.parts.proxies.fleet._offers.endpoints
        await seen(a, lambda: endpoints.of("a/b", "http"))
    async with running_server(tmp_path / "a", database=location) as a:
        endpoints = a.parts.proxies.fleet._offers.endpoints
        await seen(a, lambda: a.parts.servers._gone)  # its own first look
        a.parts.servers._gone = frozenset()
        await tend(a.parts)
        assert endpoints.of("a/b", "http")
        await tend(a.parts)
        assert not endpoints.of("a/b", "http")


async def test_a_server_that_lost_its_ear_catches_up_when_it_hears_again(
    tmp_path: Path, location: Location, postgres: Cluster
) -> None:
    """The connection for changes is opened anew, and what was missed meanwhile is read."""

    def deafen() -> None:
        with postgres.admin() as admin:
            admin.execute(
                "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and classid = %s",
                [LIVING],
            )

    async with both(location, tmp_path) as (a, b):
        node = await moved(await joined(a), b)
        async with node.connected() as stream:
            await stream.hear("entries")
            await asyncio.to_thread(deafen)
            made = await a.create_entry(WORKLOAD, "unix:uid:1")
            update = await stream.hear("entries")
            assert [entry.id for entry in update.upserts] == [made.id]
        async with asyncio.timeout(20):
            while await b.parts.servers.living() != {a.parts.servers.me.id, b.parts.servers.me.id}:
                await b.parts.servers.follow()


async def test_after_an_outage_both_go_on_and_hear_each_other(
    tmp_path: Path, location: Location, postgres: Cluster
) -> None:
    """Gone, then read-only, then back: lists come from memory, changes are refused in words, nothing is restarted."""
    name = location.url.database

    def switch(sql: str) -> None:
        with postgres.admin() as admin:
            admin.execute(f"alter database {name} {sql}")
            admin.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [name])

    async with both(location, tmp_path) as (a, b):
        kept = await a.create_entry(WORKLOAD, "unix:uid:1")
        await seen(b, lambda: len(b.parts.registry) == 1)
        for sql in ("allow_connections false", "set default_transaction_read_only = on"):
            await asyncio.to_thread(switch, sql)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await a.create_entry(WORKLOAD + "2", "unix:uid:2")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            listed_there = await b.admin.ListEntries(pb.ListEntriesRequest())
            assert [entry.id for entry in listed_there.entries] == [kept.id]
            await asyncio.to_thread(switch, "allow_connections true")
        await asyncio.to_thread(switch, "reset default_transaction_read_only")
        made = await a.create_entry(WORKLOAD + "3", "unix:uid:3")
        async with asyncio.timeout(20):
            with b.parts.agent_api.bell.listen() as rung:
                while b.parts.registry.get(made.id) is None:
                    rung.clear()
                    await rung.wait()
