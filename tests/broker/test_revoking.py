"""Taking back what was given: what stops, what is recorded first, and what comes back after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.entry import Entry
from ringfence.broker.feed import Feed
from ringfence.broker.issue import Answer, Wanted
from ringfence.broker.registry import Registry
from ringfence.broker.revoking import IDENTITY, NODE, SERIAL, Outcome, Revoker, Target, Why
from ringfence.broker.store import changes, entries, revocations
from ringfence.certs.authority import Authority
from ringfence.certs.crl import LIFE
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import new_csr
from ringfence.certs.revocation import serial_of
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.world import AGENT, TD, World, let_write, world

OTHER = SpiffeId(TD, "/ringfence/agent/join_token/two")


@pytest.fixture
def keys() -> MemoryKeys:
    """Those of the server, over its restarts."""
    return MemoryKeys()


@pytest.fixture
async def w(tmp_path: Path, keys: MemoryKeys) -> AsyncIterator[World]:
    """A server without sockets."""
    async with world(tmp_path, keys) as made:
        yield made


def revoker(w: World) -> Revoker:
    """What operators use."""
    return Revoker(w.store, w.feed, w.trust.authority, clock=w.clock)


async def ask(w: World, entry: Entry, agent: SpiffeId = AGENT) -> Answer:
    """What an agent gets."""
    key = ec.generate_private_key(ec.SECP256R1())
    [answer] = await w.issuer.workload_svids(agent, [Wanted(entry.id, new_csr(key))])
    return answer


async def serial(w: World, entry: Entry, agent: SpiffeId = AGENT) -> str:
    """That of a new SVID."""
    answer = await ask(w, entry, agent)
    assert answer.refused is None
    return serial_of(x509.load_der_x509_certificate(answer.chain[0]).serial_number)


def listed(w: World) -> dict[str, frozenset[str]]:
    """What each authority's list says."""
    return {authority: crl.serials for authority, crl in w.feed.revoked.crls.items()}


async def test_nothing_more_is_issued_for_a_revoked_identity(w: World) -> None:
    """Neither certificate nor token, in words that name the reason and the way back; its neighbour goes on."""
    entry, other = await w.entry(), await w.entry("registry")
    assert await revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why("laptop lost")) == [
        Outcome(Target(IDENTITY, str(entry.spiffe_id)), changed=True, documents=0)
    ]
    refused = (await ask(w, entry)).refused
    assert refused is not None
    assert refused.kind is Kind.DENIED
    assert "laptop lost" in refused.detail
    assert f"identity lift {entry.spiffe_id}" in refused.hint
    with pytest.raises(RingfenceError, match="laptop lost"):
        await w.issuer.jwt_svid(AGENT, entry.id, ["db"])
    assert await serial(w, other)


async def test_an_instance_of_a_rule_is_revoked_alone(w: World) -> None:
    """The identity that the template makes is what counts, not the rule."""
    fields = {"template": "/job/{slurm.job_id}", "spiffe_id": SpiffeId(TD, ""), "selectors": ()}
    rule = Entry("", **{**fields, "parent_id": AGENT})  # type: ignore[arg-type]
    [(rule, _)] = await w.store.run(entries.create, [rule], 1)
    await w.feed.catch_up()
    await revoker(w).revoke([Target(IDENTITY, f"{TD.id}/job/7")], Why())
    csr = new_csr(ec.generate_private_key(ec.SECP256R1()))
    wanted = [Wanted(f"{rule.id}#/job/{number}", csr) for number in (7, 8)]
    seven, eight = await w.issuer.workload_svids(AGENT, wanted)
    assert seven.refused is not None
    assert eight.refused is None


async def test_what_an_identity_has_got_is_revoked_with_it(w: World) -> None:
    """On the list of its authority, and not taken off again when the identity is lifted."""
    entry = await w.entry()
    first, second = await serial(w, entry), await serial(w, entry, OTHER)
    [outcome] = await revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why())
    assert outcome.documents == 2
    root = w.trust.authority.current.x509.id
    assert listed(w) == {root: {first, second}}
    [lifted] = await revoker(w).lift([str(entry.spiffe_id)])
    assert lifted.changed
    assert listed(w) == {root: {first, second}}
    assert await serial(w, entry) not in {first, second}


async def test_one_serial_is_revoked_and_the_identity_goes_on(w: World) -> None:
    """That key is burnt; the workload may have another one at once."""
    entry = await w.entry()
    burnt = await serial(w, entry)
    await revoker(w).revoke([Target(SERIAL, burnt)], Why("key in a log", "keyCompromise"))
    assert w.feed.revoked.current.is_revoked(entry.spiffe_id, burnt)
    assert await serial(w, entry)
    crl = x509.load_der_x509_crl(next(iter(w.feed.revoked.crls.values())).der)
    [listed_one] = crl
    assert listed_one.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise


async def test_all_that_came_through_a_node_is_revoked(w: World) -> None:
    """And nothing that the same identities have elsewhere."""
    entry = await w.entry()
    here, there = await serial(w, entry), await serial(w, entry, OTHER)
    [outcome] = await revoker(w).revoke([Target(NODE, str(AGENT))], Why())
    assert outcome.documents == 1
    assert w.feed.revoked.current.is_revoked(entry.spiffe_id, here)
    assert not w.feed.revoked.current.is_revoked(entry.spiffe_id, there)


async def test_what_is_named_twice_is_revoked_once(w: World) -> None:
    """A serial beside its identity and its node, each with an outcome of its own, in the order asked."""
    entry = await w.entry()
    first, second = await serial(w, entry), await serial(w, entry)
    targets = [Target(IDENTITY, str(entry.spiffe_id)), Target(SERIAL, first), Target(NODE, str(AGENT))]
    done = await revoker(w).revoke(targets, Why())
    assert [outcome.target for outcome in done] == targets
    assert [outcome.documents for outcome in done] == [1, 1, 0]
    assert set(w.feed.revoked.current.serials) == {first, second}


async def test_the_same_again_changes_nothing(w: World) -> None:
    """Neither the store nor the list; other words for it do."""
    entry = await w.entry()
    target = Target(IDENTITY, str(entry.spiffe_id))
    await revoker(w).revoke([target], Why("a"))
    before = await w.store.run(changes.current)
    assert await revoker(w).revoke([target], Why("a")) == [Outcome(target, changed=False, documents=0)]
    assert await w.store.run(changes.current) == before
    assert await revoker(w).revoke([target], Why("b")) == [Outcome(target, changed=True, documents=0)]
    assert await revoker(w).lift(["spiffe://example.org/nobody"]) == [
        Outcome(Target(IDENTITY, "spiffe://example.org/nobody"), changed=False, documents=0)
    ]


async def test_a_dry_run_says_the_same_and_does_nothing(w: World) -> None:
    """For revoking and for lifting."""
    entry = await w.entry()
    target = Target(IDENTITY, str(entry.spiffe_id))
    await serial(w, entry)
    said = await revoker(w).revoke([target], Why(), dry_run=True)
    assert not w.feed.revoked.current
    assert not await revoker(w).lift([target.subject], dry_run=True) == await revoker(w).revoke([target], Why()) == said
    assert (await revoker(w).lift([target.subject], dry_run=True))[0].changed
    assert w.feed.revoked.current.identity(target.subject)


@pytest.mark.parametrize(
    ("target", "why", "kind"),
    [
        (Target(IDENTITY, "trainer"), Why(), Kind.INVALID),
        (Target(IDENTITY, str(AGENT)), Why(), Kind.INVALID),
        (Target(SERIAL, "0" * 32), Why(), Kind.NOT_FOUND),
        (Target(IDENTITY, "spiffe://example.org/a"), Why(code="whim"), Kind.INVALID),
        (Target(IDENTITY, "spiffe://example.org/a"), Why("é" * 129), Kind.INVALID),
    ],
)
async def test_what_makes_no_sense_revokes_nothing(w: World, target: Target, why: Why, kind: Kind) -> None:
    """Nor anything else that was asked in the same breath."""
    with pytest.raises(RingfenceError) as caught:
        await revoker(w).revoke([Target(IDENTITY, "spiffe://example.org/other"), target], why)
    assert caught.value.kind is kind
    assert not w.feed.revoked.current


async def test_the_serial_of_an_agent_is_not_revoked_alone(w: World) -> None:
    """Whoever has that key could renew by it: the node has to go."""
    key = ec.generate_private_key(ec.SECP256R1())
    [leaf] = await w.issuer.own_svid(AGENT, key.public_key())
    number = serial_of(x509.load_der_x509_certificate(leaf).serial_number)
    with pytest.raises(RingfenceError) as caught:
        await revoker(w).revoke([Target(SERIAL, number)], Why())
    assert "--node" in caught.value.hint


async def test_what_was_asked_before_and_signed_after_is_refused(w: World) -> None:
    """A request that was authorised while the revocation was on its way to the disk gets nothing."""
    entry = await w.entry()
    revoking = asyncio.create_task(revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why()))
    await asyncio.sleep(0)  # its transaction is the first in the store's queue, and not in force yet
    assert not w.feed.revoked.current
    answers = await asyncio.gather(ask(w, entry), w.issuer.jwt_svid(AGENT, entry.id, ["db"]), return_exceptions=True)
    await revoking
    assert isinstance(answers[0], Answer)
    assert answers[0].refused is not None
    assert isinstance(answers[1], RingfenceError)


async def test_what_cannot_be_recorded_is_not_in_force(w: World) -> None:
    """A store that takes nothing leaves everything as it was."""
    entry = await w.entry()
    await let_write(w.store, allowed=False)
    with pytest.raises(RingfenceError):
        await revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why())
    assert not w.feed.revoked.current
    await let_write(w.store, allowed=True)
    assert await serial(w, entry)


async def test_a_server_that_died_in_between_goes_on(tmp_path: Path, keys: MemoryKeys) -> None:
    """Recorded is enough: after a restart it is refused and the list is signed, though nobody was told before."""
    async with world(tmp_path, keys) as w:
        entry = await w.entry()
        mine = await serial(w, entry)
        target = Target(IDENTITY, str(entry.spiffe_id))
        await w.store.run(lambda found: revoker(w)._one(found, target, Why(), (1, ""), dry_run=False))
    async with world(tmp_path, keys, w.clock) as w:
        assert (await ask(w, entry)).refused is not None
        assert not listed(w)
        await revoker(w).keep()
        assert listed(w) == {w.trust.authority.current.x509.id: {mine}}


async def test_another_server_on_the_store_follows(w: World) -> None:
    """By the change feed, which every act of revocation goes through."""
    other = Feed(w.store, Registry(w.bell))
    await other.load()
    await w.entry()
    await revoker(w).revoke([Target(IDENTITY, "spiffe://example.org/a")], Why())
    with other.revoked.bell.listen() as rung:
        await other.catch_up()
        assert rung.is_set()
    assert other.revoked.current == w.feed.revoked.current
    with other.revoked.bell.listen() as rung:
        await w.entry("registry")
        await other.catch_up()
        assert not rung.is_set()


async def test_what_another_server_revokes_is_listed_by_whoever_signed_it(w: World) -> None:
    """The server with the key hears of it by the feed, and signs without being asked."""
    entry = await w.entry()
    mine = await serial(w, entry)
    elsewhere, authority = Feed(w.store, Registry(w.bell)), Authority.create(TD, MemoryKeys(), now=w.clock())
    await elsewhere.load()
    running = asyncio.create_task(revoker(w).run())
    with w.feed.revoked.bell.listen() as rung:
        await Revoker(w.store, elsewhere, authority, clock=w.clock).revoke([Target(SERIAL, mine)], Why())
        assert not elsewhere.revoked.crls
        await w.feed.catch_up()
        while not listed(w):
            await rung.wait()
            rung.clear()
    running.cancel()
    assert listed(w) == {w.trust.authority.current.x509.id: {mine}}


async def test_time_ends_what_was_for_a_time(w: World) -> None:
    """An identity is lifted then, a serial and its list are forgotten with the certificate, and no sooner."""
    entry = await w.entry(x509_ttl=3600)
    await serial(w, entry)
    until = int((w.clock() + timedelta(minutes=10)).timestamp())
    await revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why(until=until))
    w.clock.turn(minutes=9)
    await revoker(w).keep()
    assert (await ask(w, entry)).refused is not None
    w.clock.turn(minutes=1)
    await revoker(w).keep()
    assert await serial(w, entry)
    assert len(w.feed.revoked.current.serials) == 1
    w.clock.turn(minutes=50)
    await revoker(w).keep()
    assert not w.feed.revoked.current
    assert listed(w) == {}


async def test_a_list_is_made_again_with_a_higher_number(w: World) -> None:
    """When something is added, and at half of its life; never in between."""
    entry = await w.entry(x509_ttl=20 * 3600)
    root = w.trust.authority.current.x509.id
    for expected in (1, 2):
        await revoker(w).revoke([Target(SERIAL, await serial(w, entry))], Why())
        assert w.feed.revoked.crls[root].number == expected
    await revoker(w).keep()
    assert w.feed.revoked.crls[root].number == 2
    w.clock.turn(seconds=LIFE.total_seconds() / 2)
    await revoker(w).keep()
    assert w.feed.revoked.crls[root].number == 3


async def test_each_authority_lists_its_own(w: World) -> None:
    """A retired one goes on listing what it signed."""
    entry = await w.entry()
    first, old = await serial(w, entry), w.trust.authority.current.x509.id
    await w.trust.replace(lead_seconds=0)
    second, new = await serial(w, entry), w.trust.authority.current.x509.id
    await revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why())
    assert listed(w) == {old: {first}, new: {second}}


async def test_a_lost_key_keeps_no_other_list_from_being_made(w: World, keys: MemoryKeys) -> None:
    """The revocation itself is in force all the same."""
    entry = await w.entry()
    await serial(w, entry)
    old = w.trust.authority.current.x509
    await w.trust.replace(lead_seconds=0)
    second = await serial(w, entry)
    keys.delete(old.key_id)
    await revoker(w).revoke([Target(IDENTITY, str(entry.spiffe_id))], Why())
    assert listed(w) == {w.trust.authority.current.x509.id: {second}}
    held = await w.store.run(revocations.every)
    assert len(held.revocations.serials) == 2
