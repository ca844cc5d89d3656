"""Two whole servers on one PostgreSQL: what is done to one shows at the other, by push, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2 as agent
from ringfence.broker.audit.chain import ACTIVE, files_of, verify
from ringfence.broker.feed import Feed
from ringfence.broker.server import parts
from ringfence.broker.server.daemon import system_clock
from ringfence.broker.server.upkeep import tend
from ringfence.broker.store.connect import LIVING
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.location import Location
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.broker.server.node import Node, csr, drain, joined
from tests.broker.server.test_revocation import heard, issued
from tests.broker.world import Clock
from tests.postgres import Cluster

pytestmark = pytest.mark.postgres
WORKLOAD = "spiffe://example.org/ns/a/sa/web"
INTENT = """apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {name: %s, namespace: team-a}
spec:
  role: serving
  match: [{unix.uid: 1001}]
  launch: {by: [{unix.uid: 1000}]}
"""


@pytest.fixture
def location(postgres: Cluster) -> Iterator[Location]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield Location.parse(url)


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


def keys_in(update: agent.BundleUpdate) -> frozenset[str]:
    """The names of the JWT-SVID keys in our bundle as it is pushed."""
    return frozenset(SpiffeBundle.parse(TRUST_DOMAIN, update.bundle).jwt_authorities)


async def moved(node: Node, server: ServerUnderTest) -> Node:
    """The same node, when it connects to *server*."""
    node.address = server.address
    return node


async def test_an_entry_made_at_one_is_pushed_by_the_other(tmp_path: Path, location: Location) -> None:
    """To agents that attested at the first one: their SVID, of that one's authority, is accepted by both."""
    async with both(location, tmp_path) as (a, b):
        node = await joined(a)
        await moved(node, b)
        async with node.connected() as stream:
            await stream.hear("entries")
            made = await a.create_entry(WORKLOAD, "unix:uid:1")
            update = await stream.hear("entries")
            assert [entry.id for entry in update.upserts] == [made.id]
            await a.delete_entry(made.id)
            assert list((await stream.hear("entries")).removed) == [made.id]


async def test_an_authority_made_while_another_starts_is_known_to_it(
    tmp_path: Path, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that one read the bundle and before it reads the feed, which then goes on behind the change."""
    for name in "ab":
        await asyncio.to_thread((tmp_path / name).mkdir)
    async with running_server(tmp_path / "a", database=location) as a:

        class Later(Feed):
            async def load(self) -> None:
                await a.parts.trust.take("x509", "prepare")
                await super().load()

        monkeypatch.setattr(parts, "Feed", Later)
        async with running_server(tmp_path / "b", database=location) as b:
            assert b.parts.trust.bundle.to_json() == a.parts.trust.bundle.to_json()


async def test_an_agent_that_moves_is_sent_nothing_that_it_has(tmp_path: Path, location: Location) -> None:
    """Revision and bundle are the same at both, so the first thing that it hears is the first that is new."""
    async with both(location, tmp_path) as (a, b):
        node = await joined(a)
        await a.create_entry(WORKLOAD, "unix:uid:1")
        async with node.connected() as stream:
            entries = await stream.hear("entries")
        await seen(b, lambda: b.parts.registry.revision == a.parts.registry.revision)
        await moved(node, b)
        assert b.parts.trust.bundle.to_json() == a.parts.trust.bundle.to_json()
        async with node.connected(revision=entries.revision) as stream:
            first = await stream.hear("entries")
            assert (first.full, len(first.upserts), len(first.removed)) == (False, 0, 0)


@pytest.mark.parametrize("how", ["evicted", "banned"])
async def test_an_agent_put_out_at_one_is_put_out_at_the_other(tmp_path: Path, location: Location, how: str) -> None:
    """Its stream there ends, and no new one opens."""
    async with both(location, tmp_path) as (a, b):
        node = await moved(await joined(a), b)
        async with node.connected() as stream:
            await stream.hear("entries")
            if how == "evicted":
                await a.admin.EvictNodes(pb.EvictNodesRequest(spiffe_ids=[node.spiffe_id]))
            else:
                await a.admin.BanNodes(pb.BanNodesRequest(spiffe_ids=[node.spiffe_id]))
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await drain(stream.call)
        assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_one_revokes_the_other_refuses_and_lists(tmp_path: Path, location: Location) -> None:
    """Agents of both hear of it at once, neither issues it, and whoever signed a certificate puts it on its list."""
    async with both(location, tmp_path) as (a, b):
        node = await moved(await joined(a), b)
        entry = await a.create_entry(WORKLOAD, "unix:uid:1")
        await seen(b, lambda: b.parts.registry.get(entry.id) is not None)
        async with node.connected() as stream:
            _, serial = await issued(stream, entry.id)
            await a.admin.RevokeIdentities(pb.RevokeIdentitiesRequest(spiffe_ids=[WORKLOAD]))
            assert [one.spiffe_id for one in (await heard(stream)).identities] == [WORKLOAD]
            await stream.say(svids=agent.SvidRequest(id=2, items=[agent.SvidItem(entry_id=entry.id, csr=csr())]))
            [refused] = (await stream.hear("svids")).results
            assert "was revoked" in refused.detail
        signer = b.parts.trust.authority.current.x509.id
        await seen(a, lambda: signer in a.parts.revoker.revoked.crls)
        assert a.parts.revoker.revoked.crls[signer].serials == {serial}


async def test_intent_of_either_is_in_force_at_both(tmp_path: Path, location: Location) -> None:
    """Two that apply at once: one comes last, and that one is what both end with."""
    async with both(location, tmp_path) as (a, b):
        await a.apply({"a.yaml": INTENT % "one"})
        await seen(b, lambda: b.parts.intent.revision == a.parts.intent.revision)
        assert [rule.name for rule in b.parts.registry.launch_rules] == ["one"]
        await asyncio.gather(a.apply({"a.yaml": INTENT % "two"}), b.apply({"a.yaml": INTENT % "three"}))
        await asyncio.gather(a.parts.feed.catch_up(), b.parts.feed.catch_up())
        assert a.parts.intent.revision == b.parts.intent.revision
        names = {entry.spiffe_id.path for entry in a.parts.registry.every()}
        assert names in ({"/ns/team-a/sa/two"}, {"/ns/team-a/sa/three"})
        assert {entry.spiffe_id.path for entry in b.parts.registry.every()} == names


async def test_an_agent_that_misses_a_key_has_its_server_look_at_what_others_made(
    tmp_path: Path, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that missed the news of a key reads it when it is asked; a database that is away ends no stream."""
    async with both(location, tmp_path) as (a, b):
        node, feed, answers = await joined(a), a.parts.feed, [False, True]
        caught_up = Feed.catch_up

        async def deaf(self: Feed) -> None:
            if self is feed and not answers:
                raise RingfenceError(Kind.UNAVAILABLE, "away")
            if self is not feed or answers[0]:
                await caught_up(self)

        async with node.connected() as stream:
            await stream.hear("entries")
            monkeypatch.setattr(Feed, "catch_up", deaf)
            made = (await b.parts.trust.take("jwt", "prepare")).id
            assert made in b.parts.trust.bundle.jwt_authorities
            assert made not in a.parts.trust.bundle.jwt_authorities
            answers.pop(0)
            await stream.say(unknown_key={"trust_domain": "example.org", "key_id": made})
            async with asyncio.timeout(30):
                while made not in keys_in(await stream.hear("bundle")):
                    continue
        answers.clear()
        async with node.connected() as stream:
            await stream.hear("entries")
            await stream.say(unknown_key={"trust_domain": "example.org", "key_id": "k"})
            assert (await stream.hear("bundle")).bundle


async def test_bundles_of_partners_set_at_one_are_held_by_both(tmp_path: Path, location: Location) -> None:
    """And deleted at both."""
    partner = SpiffeBundle(TrustDomain("b.test"), sequence=3)
    async with both(location, tmp_path) as (a, b):
        await a.admin.SetBundle(pb.SetBundleRequest(trust_domain="b.test", bundle=partner.to_json()))
        await seen(b, lambda: partner.trust_domain in b.parts.federation.held)
        await b.admin.DeleteBundle(pb.DeleteBundleRequest(trust_domain="b.test"))
        await seen(a, lambda: not a.parts.federation.held)


async def test_where_a_proxy_is_served_is_known_to_all(tmp_path: Path, location: Location) -> None:
    """A proxy that comes back to another server is that one's; the word of the one it left counts no more."""
    row = EndpointRow("a/b", "http", "10.0.0.1", 80, "a/b#n")
    async with both(location, tmp_path) as (a, b):
        kept_a, kept_b = a.parts.proxies._kept, b.parts.proxies._kept

        def hears(server: ServerUnderTest) -> bool:
            return len(server.parts.proxies.fleet._offers.endpoints.of("a/b", "http")) == 1

        await kept_a.put(row.node, [row])
        await seen(b, lambda: hears(b))
        await kept_b.put(row.node, [row])
        await kept_a.remove(row.node)
        await seen(a, lambda: hears(a))
        await kept_b.remove(row.node)
        await seen(a, lambda: not hears(a))


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


async def test_each_server_keeps_a_chain_of_its_own_and_each_verifies(tmp_path: Path, location: Location) -> None:
    """Records are written within the transaction of what they say, by whoever does it."""
    async with both(location, tmp_path) as (a, b):
        await asyncio.gather(
            *(
                server.create_entry(f"{WORKLOAD}{number}", f"unix:uid:{number}")
                for number in range(20)
                for server in (a, b)
            )
        )
    for name in "ab":
        checked = await asyncio.to_thread(lambda log: verify(files_of(log)), tmp_path / name / "server" / ACTIVE)
        assert (checked.first, checked.torn) == (1, 0)
        assert checked.records > 20
