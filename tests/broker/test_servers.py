"""Several servers on one PostgreSQL: each with keys of its own, all with one bundle, each known to live or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.bell import Bell
from ringfence.broker.feed import Feed
from ringfence.broker.published import Place
from ringfence.broker.registry import Registry
from ringfence.broker.servers import Servers, holder_of
from ringfence.broker.store import authority as stored
from ringfence.broker.store import connect
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.connect import Hold
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.broker.trust import Trust
from ringfence.broker.trust_loading import Terms, load_trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.rotation import Step
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from tests.broker.world import TD, Clock
from tests.postgres import Cluster

TERMS = Terms(TD, timedelta(hours=24))
pytestmark = pytest.mark.postgres


@pytest.fixture
def location(postgres: Cluster) -> Iterator[Location]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield Location.parse(url)


@dataclass(slots=True)
class One:
    """A server without its sockets, which follows the others."""

    servers: Servers
    trust: Trust
    feed: Feed

    def leaf(self) -> list[bytes]:
        """An SVID that it signed."""
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        clock = self.trust._clock
        return list(
            self.trust.authority.issue_x509(SpiffeId(TD, "/ns/a/sa/x"), public, now=clock(), ttl=timedelta(hours=1))
        )


@asynccontextmanager
async def server(location: Location, folder: Path, *, keys: MemoryKeys, clock: Clock) -> AsyncIterator[One]:
    """A server with its data in *folder*."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    async with AsyncExitStack() as stack:
        store, bell = await Store.open(location, Hold.SHARED), Bell()
        stack.push_async_callback(store.close)
        servers = await Servers.enter(location, folder, "127.0.0.1:1", store=store, holds=holder_of(keys), clock=clock)
        stack.push_async_callback(servers.close)
        feed = Feed(store, Registry(bell))
        place = Place(store, bell, clock, folder / "bundle.pem", servers=servers)
        trust = await load_trust(TERMS, keys, place)
        await feed.load()
        feed.tell(ChangeKind.SERVER, servers.follow)
        feed.tell(ChangeKind.AUTHORITY, trust.follow)
        following = asyncio.create_task(servers.run(feed))
        try:
            yield One(servers, trust, feed)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@asynccontextmanager
async def two(location: Location, folder: Path, clock: Clock) -> AsyncIterator[tuple[One, One]]:
    """Two servers, the second one new."""
    async with (
        server(location, folder / "a", keys=MemoryKeys(), clock=clock) as a,
        server(location, folder / "b", keys=MemoryKeys(), clock=clock) as b,
    ):
        yield a, b


async def test_the_bundle_is_the_union_and_the_same_bytes_everywhere(location: Location, tmp_path: Path) -> None:
    """Each accepts what the other signed; private keys are nowhere but with their server."""
    async with two(location, tmp_path, Clock()) as (a, b):
        assert len(a.trust.bundle.x509_authorities) == 2
        assert a.trust.bundle.to_json() == b.trust.bundle.to_json()
        for signer, verifier in ((a, b), (b, a)):
            leaf = signer.leaf()
            name = verify_peer(verifier.trust.path_of(leaf[0]), verifier.trust.bundle, now=Clock()())
            assert name.path == "/ns/a/sa/x"
        assert a.trust.issuers == b.trust.issuers


async def test_every_step_of_either_is_one_higher_sequence_for_both(location: Location, tmp_path: Path) -> None:
    """A sequence names one bundle, whoever publishes, and whoever is asked."""
    async with two(location, tmp_path, Clock()) as (a, b):
        first = b.trust.bundle.sequence
        for number, one in enumerate((a, b, a), 1):
            kind = "x509" if number < 3 else "jwt"
            await one.trust.take(kind, "prepare")
            assert one.trust.bundle.sequence == first + number
            await a.feed.catch_up()
            await b.feed.catch_up()
            assert a.trust.bundle.to_json() == b.trust.bundle.to_json()


async def test_a_new_authority_is_not_used_before_the_other_server_shows_it(
    location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand it is refused in words, by itself it is put off; one that died is waited for by nobody."""
    monkeypatch.setattr("ringfence.broker.spread._PATIENCE", 0.2)
    clock = Clock()
    async with server(location, tmp_path / "a", keys=MemoryKeys(), clock=clock) as a:
        async with server(location, tmp_path / "b", keys=MemoryKeys(), clock=clock) as b:
            # 1. It lives and hears nothing.
            blocked = b.feed._lock
            await blocked.acquire()
            await a.trust.take("x509", "prepare")
            with pytest.raises(RingfenceError, match="does not show") as caught:
                await a.trust.take("x509", "activate", lead_seconds=0)
            assert caught.value.kind is Kind.UNAVAILABLE
            assert await a.trust.step() is Step.WAIT
            # 2. It hears.
            blocked.release()
            await b.feed.catch_up()
            await a.feed.catch_up()
            await a.trust.take("x509", "activate", lead_seconds=0)
        # 3. It is gone.
        await a.trust.take("jwt", "prepare")
        await a.trust.take("jwt", "activate", lead_seconds=0)


async def test_who_lives_is_known_by_the_lock_and_one_is_on_duty(location: Location, tmp_path: Path) -> None:
    """The first of the living; when it ends, however it ends, the next one is, with nothing said."""
    clock, keys = Clock(), MemoryKeys()
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        a = await first.enter_async_context(server(location, tmp_path / "a", keys=keys, clock=clock))
        b = await second.enter_async_context(server(location, tmp_path / "b", keys=MemoryKeys(), clock=clock))
        await a.servers.follow()
        assert await a.servers.living() == {a.servers.me.id, b.servers.me.id}
        assert [await one.servers.on_duty() for one in (a, b)] == [True, False]
        await first.aclose()
        # The database gives a lock back a moment after the connection was closed.
        async with asyncio.timeout(20):
            while await b.servers.living() != {b.servers.me.id}:
                pass
        assert await b.servers.on_duty()
        again = await first.enter_async_context(server(location, tmp_path / "a", keys=keys, clock=clock))
        assert (again.servers.me.id, again.servers.me.number) == (a.servers.me.id, a.servers.me.number)


async def test_the_same_server_does_not_run_twice(
    location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied data directory would be two servers with one authority's keys."""
    clock, keys = Clock(), MemoryKeys()
    async with server(location, tmp_path / "a", keys=keys, clock=clock):
        monkeypatch.setattr(connect, "BUSY_SECONDS", 0.5)
        with pytest.raises(RingfenceError, match="runs already") as caught:
            async with server(location, tmp_path / "a", keys=keys, clock=clock):
                pass
        assert caught.value.kind is Kind.CONFLICT


async def test_the_authority_of_the_time_before_there_were_several_stays_its_owners(
    location: Location, tmp_path: Path
) -> None:
    """Whoever holds its keys has it, and no other server."""
    clock, keys = Clock(), MemoryKeys()
    store = await Store.open(location)
    alone = await load_trust(TERMS, keys, Place(store, Bell(), clock, tmp_path / "bundle.pem"))
    await store.close()
    async with (
        server(location, tmp_path / "new", keys=MemoryKeys(), clock=clock) as new,
        server(location, tmp_path / "old", keys=keys, clock=clock) as old,
    ):
        root = alone.authority.current.x509.id
        assert (old.trust.authority.current.x509.id, new.trust.authority.current.x509.id == root) == (root, False)
        kept = await old.trust._store.run(stored.every)
        assert set(kept) == {old.servers.me.id, new.servers.me.id}
