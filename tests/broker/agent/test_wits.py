"""WIT-SVIDs of a node: keys made there, tokens renewed, withdrawn, refused and kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.wits import HeldWit, Wits
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import csr_public_key
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.wit_svid import issue_wit
from tests.certs.material import HOUR, MINUTE, NOW, TD, TRAINER, new_authority, new_key

LIFE = timedelta(hours=1)
ENTRY = Entry("e", TRAINER, frozenset({Selector("unix", "uid:1")}), LIFE, LIFE, (), "", 0)


class FakeServer:
    """Signs with an authority of its own, or answers as it is told."""

    def __init__(self, authority: Authority) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.authority = authority
        self.now = NOW
        self.asked = 0
        self.made: Callable[[bytes], agent_pb2.WitResponse] = self.issued

    def clock(self) -> Any:
        """The test's time."""
        return self.now

    def issued(self, csr: bytes) -> agent_pb2.WitResponse:
        """A token for the key that is asked with."""
        token, ends = issue_wit(self.authority, TRAINER, csr_public_key(csr), now=self.now, ttl=LIFE)
        return agent_pb2.WitResponse(token=token, expires_at=int(ends.timestamp()))

    async def request_wit(self, _: str, csr: bytes) -> agent_pb2.WitResponse:
        """As the link."""
        self.asked += 1
        return self.made(csr)


class Told:
    """The streams: which entries they were told of."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    def on_svids(self, entry_ids: frozenset[str]) -> None:
        """Their documents changed."""
        self.events.put_nowait(entry_ids)

    def on_entries(self, *_: object, **__: object) -> None:
        """Not of interest."""

    def on_bundles(self) -> None:
        """Not of interest."""

    def on_revoked(self, *_: object, **__: object) -> None:
        """Not of interest."""

    def watched(self) -> frozenset[str]:
        """One is open."""
        return frozenset({"e"})


@asynccontextmanager
async def node() -> AsyncIterator[tuple[FakeServer, Wits, Told, Cache]]:
    """The part under test, running, and what is around it."""
    authority, _ = new_authority(wit=True)
    server, told = FakeServer(authority), Told()
    cache = Cache(authority.bundle(1), clock=server.clock)
    cache.on_entries(agent_pb2.EntriesUpdate(full=True, upserts=[ENTRY.write()]))
    cache.listen(told)
    wits = Wits(cache, server)
    wits.attach()
    running = asyncio.create_task(wits.run())
    try:
        yield server, wits, told, cache
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_is_renewed_at_half_of_its_life_with_a_new_key() -> None:
    """Give or take a tenth of the half; whoever shows it is told."""
    async with node() as (server, wits, told, cache):
        assert wits.of([ENTRY]) == ((), True)
        await told.events.get()
        [(_, first)], waits = wits.of([ENTRY])
        assert not waits
        assert abs(first.renew_at - (NOW + LIFE / 2)) <= LIFE / 20
        server.now = first.renew_at + MINUTE
        cache.hooks.rotate(timedelta(0), frozenset({"another authority"}))  # wakes it, and touches nothing
        await told.events.get()
        [(_, second)], _ = wits.of([ENTRY])
        assert server.asked == 2
        assert (second.key != first.key, second.token != first.token) == (True, True)


@pytest.mark.parametrize("late", [timedelta(minutes=10), timedelta(minutes=59), timedelta(minutes=59, seconds=58)])
def test_one_that_comes_late_in_its_life_is_left_alone_for_a_while(late: timedelta) -> None:
    """By a clock that is ahead of the server's, asking again at once would bring the same: a third of what is left."""
    authority, _ = new_authority(wit=True)
    key = new_key()
    token, ends = issue_wit(authority, TRAINER, key.public_key(), now=NOW, ttl=LIFE)
    now = NOW + late
    held = HeldWit.of(token, key, ENTRY, authority.bundle(1), now)
    assert held.renew_at - now >= (ends - now) / 3


async def test_a_taint_renews_what_that_authority_signed() -> None:
    """At once when the server says so."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        cache.hooks.rotate(timedelta(0), frozenset({server.authority.wit_key().kid}))
        await told.events.get()
        assert server.asked == 2


async def test_what_a_revoked_authority_signed_is_shown_no_more() -> None:
    """The bundle alone says so, whether or not anybody said taint."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        server.authority.want_wit(NOW, wanted=False)
        server.authority.want_wit(NOW, wanted=True)
        cache.on_bundle(agent_pb2.BundleUpdate(bundle=server.authority.bundle(2).to_json()))
        assert wits.of([ENTRY]) == ((), True)
        await told.events.get()
        assert len(wits.of([ENTRY])[0]) == 1


async def test_an_entry_that_goes_takes_its_token_along() -> None:
    """From memory and from what is kept on disk."""
    async with node() as (_, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        assert wits.dump().keys() == {"e"}
        cache.on_entries(agent_pb2.EntriesUpdate(revision=1, removed=["e"]))
        assert wits.dump() == {}


async def test_an_entry_that_changes_while_it_is_asked_for_is_asked_for_anew() -> None:
    """What it said before is not served."""
    async with node() as (server, wits, told, cache):
        changed = replace(ENTRY, x509_ttl=LIFE / 2)

        def meanwhile(csr: bytes) -> agent_pb2.WitResponse:
            server.made = server.issued
            cache.on_entries(agent_pb2.EntriesUpdate(revision=1, upserts=[changed.write()]))
            return server.issued(csr)

        server.made = meanwhile
        wits.of([ENTRY])
        await told.events.get()
        assert server.asked == 2
        assert len(wits.of([changed])[0]) == 1


async def test_what_is_revoked_is_forgotten_and_not_taken() -> None:
    """Neither what is held, nor what comes later, nor what was kept."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        kept = wits.dump()
        revoked = agent_pb2.Revoked(identities=[agent_pb2.RevokedIdentity(spiffe_id=str(TRAINER))])
        cache.on_revoked(agent_pb2.RevokedUpdate(revoked=revoked.SerializeToString()))
        assert wits.dump() == {}
        wits.restore(kept)
        assert wits.dump() == {}
        came = asyncio.Event()

        def late(csr: bytes) -> agent_pb2.WitResponse:
            came.set()
            return server.issued(csr)

        server.made = late
        wits.of([ENTRY])
        await came.wait()
        assert wits.dump() == {}


@pytest.mark.parametrize("code", [7, 12])
async def test_a_refusal_is_told_and_asked_again_later(code: int) -> None:
    """Nobody waits meanwhile; without the feature there all streams are told so."""
    async with node() as (server, wits, told, _):
        server.made = lambda _: agent_pb2.WitResponse(code=code, detail="no")
        wits.of([ENTRY])
        await told.events.get()
        assert wits.of([ENTRY]) == ((), False)
        assert wits.are_off == (code == 12)
        server.made = server.issued
        server.now += MINUTE
        assert not wits.are_off
        assert wits.of([ENTRY]) == ((), True)
        await told.events.get()
        assert len(wits.of([ENTRY])[0]) == 1


async def test_what_was_not_asked_for_is_not_served() -> None:
    """A token for another key, for another name, of an authority that is not in the bundle, or none at all."""
    authority, stranger = (new_authority(wit=True)[0] for _ in range(2))
    key, other = new_key(), SpiffeId(TD, "/ns/a/sa/other")
    bundle = authority.bundle(1)

    def made(by: Authority, name: SpiffeId, of: Any) -> str:
        return issue_wit(by, name, of.public_key(), now=NOW, ttl=HOUR)[0]

    assert HeldWit.of(made(authority, TRAINER, key), key, ENTRY, bundle, NOW).spiffe_id == TRAINER
    for token, says in (
        (made(authority, TRAINER, new_key()), "another key"),
        (made(authority, other, key), "when asked for"),
        (made(stranger, TRAINER, key), "no such WIT-SVID key"),
        ("x.y.z", "no token"),
    ):
        with pytest.raises(RingfenceError, match=says) as caught:
            HeldWit.of(token, key, ENTRY, bundle, NOW)
        assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_what_is_kept_reads_back_and_shows_no_key() -> None:
    """Damage costs that one token only; one that ended stays away."""
    async with node() as (server, wits, told, cache):
        wits.of([ENTRY])
        await told.events.get()
        kept = json.loads(json.dumps(wits.dump()))
        [(_, held)], _ = wits.of([ENTRY])
        assert held.key not in repr(held)
        again = Wits(cache, server)
        again.restore({**kept, "damaged": {}, "worse": [], "nobody": kept["e"]})
        assert again.of([ENTRY])[0] == ((ENTRY, held),)
        assert again.dump() == kept
        server.now += 2 * LIFE
        late = Wits(cache, server)
        late.restore(kept)
        assert late.dump() == {}
