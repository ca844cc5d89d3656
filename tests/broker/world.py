"""The parts of a server without its sockets, on a clock that tests turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.bell import Bell
from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.broker.feed import Feed
from ringfence.broker.issue import Issuer
from ringfence.broker.published import Place
from ringfence.broker.registry import Registry
from ringfence.broker.store import entries
from ringfence.broker.store.engine import Store
from ringfence.broker.trust import Trust
from ringfence.broker.trust_loading import Terms, load_trust
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")
SERVER = SpiffeId(TD, "/ringfence/server")
AGENT = SpiffeId(TD, "/ringfence/agent/join_token/one")
START = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """What it shows."""
        return self.now

    def turn(self, **by: float) -> None:
        """Forward (or back) by hours, minutes, seconds."""
        self.now += timedelta(**by)


@dataclass(slots=True)
class World:
    """Store, memory and authority."""

    clock: Clock
    store: Store
    bell: Bell
    registry: Registry
    feed: Feed
    trust: Trust
    issuer: Issuer

    async def entry(self, name: str = "trainer", **fields: object) -> Entry:
        """A registered entry."""
        parent = fields.pop("parent_id", any_node(TD))
        wanted = Entry("", SpiffeId(TD, f"/ns/a/sa/{name}"), parent, selectors_of(["unix:uid:1000"]), **fields)  # type: ignore[arg-type]
        [(made, _)] = await self.store.run(entries.create, [wanted], int(self.clock().timestamp()))
        await self.feed.catch_up()
        return made


@asynccontextmanager
async def world(
    folder: Path, keys: KeyManager, clock: Clock | None = None, *, wit: bool = False
) -> AsyncIterator[World]:
    """A world on the store in *folder*; entered again with the same keys it is a restarted server."""
    clock = clock or Clock()
    store, bell = await Store.open(folder / "store.sqlite3"), Bell()
    try:
        terms, place = Terms(TD, timedelta(hours=24), wit=wit), Place(store, bell, clock, folder / "bundle.pem")
        trust = await load_trust(terms, keys, place)
        registry = Registry(bell)
        feed = Feed(store, registry)
        await feed.load()
        issuer = Issuer(trust.authority, registry, store, clock=clock, revoked=feed.revoked)
        yield World(clock, store, bell, registry, feed, trust, issuer)
    finally:
        await store.close()


async def leaf(w: World) -> list[bytes]:
    """An SVID signed now."""
    return list(await w.issuer.own_svid(SERVER, ec.generate_private_key(ec.SECP256R1()).public_key()))


async def let_write(store: Store, *, allowed: bool) -> None:
    """Make the database read-only, or writable again."""

    def switch() -> None:
        connection = store._engine.raw_connection()
        connection.driver_connection.execute(f"PRAGMA query_only={int(not allowed)}")  # type: ignore[union-attr]
        connection.close()

    await store._call(switch)
