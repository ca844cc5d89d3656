"""Two whole servers on one PostgreSQL: what is done to one shows at the other, by push, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.agent.v1 import agent_pb2 as agent
from ringfence.broker.audit.chain import ACTIVE, files_of, verify
from ringfence.broker.feed import Feed
from ringfence.broker.server import parts
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.location import Location
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.broker.server.node import csr, drain, joined
from tests.broker.server.several import WORKLOAD, both, moved, seen
from tests.broker.server.test_revocation import heard, issued
from tests.postgres import Cluster

pytestmark = pytest.mark.postgres
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


def keys_in(update: agent.BundleUpdate) -> frozenset[str]:
    """The names of the JWT-SVID keys in our bundle as it is pushed."""
    return frozenset(SpiffeBundle.parse(TRUST_DOMAIN, update.bundle).jwt_authorities)


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
