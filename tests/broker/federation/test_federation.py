"""What is believed of others: by hand or fetched, never older than before, and gone when the relation is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from ringfence.broker.bell import Bell
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.relation import Profile, Relation
from ringfence.broker.federation.schedule import LATEST, SOONEST
from ringfence.broker.store import federation as stored
from ringfence.broker.store.engine import Store
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.broker.federation.endpoint import ENDPOINT, THEIRS, authority
from tests.broker.world import TD, Clock, let_write

OWN = SpiffeBundle(TD)
WEB = Relation(THEIRS, "https://b.test/", Profile.WEB)
SPIFFE = Relation(THEIRS, "https://b.test/", Profile.SPIFFE, ENDPOINT)


@dataclass
class Endpoint:
    """Stands in for the network: answers, and remembers what it was asked with."""

    answers: list[bytes | RingfenceError]
    asked: list[SpiffeBundle | None] = field(default_factory=list)
    again: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _: Relation, bundle: SpiffeBundle | None) -> bytes:
        """The next answer; the last for ever."""
        self.asked.append(bundle)
        self.again.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, RingfenceError):
            raise answer
        return answer


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty one."""
    opened = await Store.open(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()


def federation(store: Store, *answers: bytes | RingfenceError, clock: Clock | None = None) -> Federation:
    """With an endpoint that gives *answers*."""
    endpoint = Endpoint(list(answers) or [b"{}"])
    return Federation(lambda: OWN, store, Bell(), clock=clock or Clock(), fetch=endpoint)


def endpoint_of(made: Federation) -> Endpoint:
    """What it asks."""
    found = made._fetch
    assert isinstance(found, Endpoint)
    return found


async def until(done: Callable[[], bool]) -> None:
    """Give others their turn until *done*."""
    while not done():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.001)


async def test_bundles_set_by_hand_last_over_a_restart(store: Store) -> None:
    """Set, set again, replaced, deleted."""
    first, bundle = federation(store), authority().bundle(3)
    assert await first.set_bundle(bundle) == "created"
    assert await first.set_bundle(bundle) == "unchanged"
    older = replace(bundle, sequence=1)
    assert await first.set_bundle(older) == "configured"  # an operator may go back
    again = federation(store)
    await again.load()
    assert again.held[THEIRS].bundle == older
    assert await again.delete_bundle(THEIRS)
    assert not await again.delete_bundle(THEIRS)
    last = federation(store)
    await last.load()
    assert not last.held


async def test_nobody_else_may_say_what_our_own_domain_trusts(store: Store) -> None:
    """Neither by hand nor by a relation."""
    made = federation(store)
    with pytest.raises(RingfenceError):
        await made.set_bundle(SpiffeBundle(TD))
    with pytest.raises(RingfenceError):
        await made.create(replace(WEB, trust_domain=TD), None)
    assert not made.held


async def test_a_relation_is_kept_and_made_once(store: Store) -> None:
    """The same again changes nothing, another one is a conflict."""
    made = federation(store)
    assert await made.create(WEB, None) == "created"
    assert await made.create(WEB, None) == "unchanged"
    with pytest.raises(RingfenceError) as caught:
        await made.create(replace(WEB, url="https://c.test/"), None)
    assert caught.value.kind is Kind.CONFLICT
    again = federation(store)
    await again.load()
    assert [state.relation.url for state in again.states] == ["https://b.test/"]


async def test_https_spiffe_needs_something_to_know_the_endpoint_by(store: Store) -> None:
    """A bootstrap bundle of that very domain, or a bundle that is held already."""
    made, bundle = federation(store), authority().bundle(1)
    with pytest.raises(RingfenceError) as caught:
        await made.create(SPIFFE, None)
    assert "--bootstrap-bundle" in caught.value.hint
    elsewhere = replace(SPIFFE, endpoint_id=SpiffeId(TrustDomain("c.test"), "/server"))
    with pytest.raises(RingfenceError):
        await made.create(elsewhere, bundle)
    with pytest.raises(RingfenceError):
        await made.create(WEB, bundle)
    assert await made.create(SPIFFE, bundle) == "created"
    assert made.held[THEIRS].bundle == bundle


async def test_the_newest_bundle_verifies_the_endpoint(store: Store) -> None:
    """SPIFFE_Federation.md 5.2.2.4: the bootstrap bundle is for the first time only."""
    theirs = authority()
    first, second = theirs.bundle(1), authority().bundle(2)
    made = federation(store, second.to_json())
    await made.create(SPIFFE, first)
    await made.refresh(THEIRS)
    await made.refresh(THEIRS)
    assert endpoint_of(made).asked == [first, second]


async def test_an_endpoint_of_another_domain_is_verified_by_that_domains_bundle(store: Store) -> None:
    """Bundles of different domains are never merged; our own endpoint IDs go by our own bundle."""
    there = TrustDomain("c.test")
    made = federation(store, b'{"keys":[]}')
    await made.set_bundle(authority(there).bundle(1))
    await made.create(replace(SPIFFE, endpoint_id=SpiffeId(there, "/server")), None)
    await made.refresh(THEIRS)
    assert endpoint_of(made).asked == [made.held[there].bundle]
    other = replace(SPIFFE, trust_domain=TrustDomain("d.test"), endpoint_id=SpiffeId(TD, "/mirror"))
    await made.create(other, None)
    await made.refresh(other.trust_domain)
    assert endpoint_of(made).asked[-1] is OWN


async def test_an_older_bundle_is_refused_and_the_good_one_stays(store: Store) -> None:
    """Rollback: a withdrawn key must not come back."""
    theirs = authority()
    made = federation(store, theirs.bundle(5).to_json(), theirs.bundle(4).to_json(), theirs.bundle(6).to_json())
    await made.create(WEB, None)
    await made.refresh(THEIRS)
    with pytest.raises(RingfenceError) as caught:
        await made.refresh(THEIRS)
    assert caught.value.kind is Kind.CONFLICT
    assert made.held[THEIRS].bundle.sequence == 5
    assert "went back from 5 to 4" in made.state(THEIRS).failure
    await made.refresh(THEIRS)
    assert (made.held[THEIRS].bundle.sequence, made.state(THEIRS).failure) == (6, "")


@pytest.mark.parametrize("bad", [b"", b"{}", b"[]", b'{"keys":[{"kty":"EC","use":"x509-svid","x5c":["?"]}]}'])
async def test_a_broken_answer_costs_nothing(store: Store, bad: bytes) -> None:
    """The last good bundle stays, and what is wrong is said."""
    made = federation(store, authority().bundle(1).to_json(), bad)
    await made.create(WEB, None)
    await made.refresh(THEIRS)
    with pytest.raises(RingfenceError):
        await made.refresh(THEIRS)
    assert made.held[THEIRS].bundle.sequence == 1
    assert made.state(THEIRS).failure


async def test_an_empty_bundle_withdraws_everything(store: Store) -> None:
    """Bundle standard 4.1.3: `keys` may be empty, and then nothing of the domain is valid."""
    made = federation(store, authority().bundle(1).to_json(), b'{"keys":[],"spiffe_sequence":2}')
    await made.create(WEB, None)
    await made.refresh(THEIRS)
    await made.refresh(THEIRS)
    assert not made.held[THEIRS].bundle.x509_authorities


async def test_the_hint_says_when_to_come_back_within_bounds(store: Store) -> None:
    """After a failure as after a success: at the next interval (section 6.2)."""
    clock, bundle = Clock(), authority().bundle(1)
    hints = [timedelta(seconds=90), timedelta(0), timedelta(days=400)]
    answers: list[bytes | RingfenceError] = [replace(bundle, refresh_hint=hint).to_json() for hint in hints]
    away = RingfenceError(Kind.UNAVAILABLE, "away")
    made = federation(store, *answers[:1], away, *answers[1:], clock=clock)
    await made.create(WEB, None)
    assert (await made.refresh(THEIRS)).next_at == clock.now + hints[0]
    clock.turn(seconds=90)
    with pytest.raises(RingfenceError):
        await made.refresh(THEIRS)
    assert made.state(THEIRS).next_at == clock.now + hints[0]
    assert (await made.refresh(THEIRS)).next_at == clock.now + SOONEST
    assert (await made.refresh(THEIRS)).next_at == clock.now + LATEST


async def test_it_fetches_by_itself_when_it_is_due(store: Store) -> None:
    """A new relation at once; a failure is not the end."""
    made = federation(store, RingfenceError(Kind.UNAVAILABLE, "away"), authority().bundle(1).to_json())
    endpoint = endpoint_of(made)
    task = asyncio.create_task(made.run())
    async with asyncio.timeout(30):
        await made.create(WEB, None)
        await endpoint.again.wait()
        await until(lambda: bool(made.state(THEIRS).failure))
        endpoint.again.clear()
        made._clock.turn(minutes=6)  # type: ignore[attr-defined]  # the test's clock
        made._rounds.wake()
        await endpoint.again.wait()
        await until(lambda: THEIRS in made.held)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_ended_relation_leaves_nothing(store: Store) -> None:
    """Section 6.3: the bundle goes with it, and what is still under way brings it back for nobody."""
    made = federation(store, authority().bundle(1).to_json())
    await made.create(WEB, None)
    await made.refresh(THEIRS)
    with pytest.raises(RingfenceError) as caught:
        await made.delete_bundle(THEIRS)
    assert caught.value.kind is Kind.CONFLICT
    started = made._fetch

    async def ended_meanwhile(relation: Relation, bundle: SpiffeBundle | None) -> bytes:
        text = await started(relation, bundle)
        assert await made.delete(THEIRS)
        return text

    made._fetch = ended_meanwhile
    with pytest.raises(RingfenceError):
        await made.refresh(THEIRS)
    assert not made.held
    assert not made.states
    assert not await made.delete(THEIRS)
    again = federation(store)
    await again.load()
    assert not again.held
    assert not again.states


async def test_nothing_is_believed_that_could_not_be_kept(store: Store) -> None:
    """A full disk shows: memory stays as the store is."""
    made = federation(store)
    await let_write(store, allowed=False)
    with pytest.raises(RingfenceError):
        await made.set_bundle(authority().bundle(1))
    with pytest.raises(RingfenceError):
        await made.create(WEB, None)
    assert not made.held
    assert not made.states
    await let_write(store, allowed=True)


async def test_what_is_only_tried_is_neither_kept_nor_shown(store: Store) -> None:
    """Each change of bundles and relations says what it would do, refuses what it would, and leaves all alone."""
    made, bundle = federation(store), authority().bundle(1)
    web = Relation(THEIRS, "https://b.test/", Profile.WEB)
    assert await made.set_bundle(bundle, dry_run=True) == "created"
    assert await made.create(web, None, dry_run=True) == "created"
    assert (made.held, made.states, made.version) == ({}, (), 0)
    assert await store.run(stored.every) == ([], [])
    await made.set_bundle(bundle)
    assert await made.set_bundle(bundle, dry_run=True) == "unchanged"
    assert await made.set_bundle(authority().bundle(2), dry_run=True) == "configured"
    assert await made.delete_bundle(THEIRS, dry_run=True)
    await made.create(web, None)
    assert await made.create(web, None, dry_run=True) == "unchanged"
    for refused in (
        made.create(replace(web, url="https://c.test/"), None, dry_run=True),
        made.delete_bundle(THEIRS, dry_run=True),
        made.set_bundle(authority(TD).bundle(1), dry_run=True),
    ):
        with pytest.raises(RingfenceError):
            await refused
    assert await made.delete(THEIRS, dry_run=True)
    assert (made.held[THEIRS].bundle, len(made.states)) == (bundle, 1)
    held, relations = await store.run(stored.every)
    assert (len(held), len(relations)) == (1, 1)


async def test_what_another_server_changed_is_followed(store: Store) -> None:
    """Bundles and relations, made and ended; how a relation stands here is not forgotten for it."""
    here, there = federation(store), federation(store)
    await here.load()
    await there.create(WEB, None)
    await there.set_bundle(authority().bundle(3))
    before = here.version
    await here.follow()
    assert here.held[THEIRS].bundle.sequence == 3
    assert here.version > before
    known = here.state(THEIRS)
    await here.follow()
    assert here.state(THEIRS) is known
    await there.delete(THEIRS)
    await here.follow()
    assert (here.held, here.states) == ({}, ())


async def test_of_several_servers_one_fetches(store: Store) -> None:
    """The others wait for the next time, when it may be theirs."""
    clock, on_duty = Clock(), asyncio.Event()

    async def duty() -> bool:
        return on_duty.is_set()

    endpoint = Endpoint([authority().bundle(1).to_json()])
    made = Federation(lambda: OWN, store, Bell(), clock=clock, fetch=endpoint, on_duty=duty)
    await made.create(WEB, None)
    running = asyncio.create_task(made.run())
    await until(lambda: made.state(THEIRS).next_at > clock())
    assert not endpoint.asked
    on_duty.set()
    clock.turn(hours=25)
    made._rounds.wake()
    await until(lambda: bool(endpoint.asked))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_relation_is_changed_and_its_bundle_serves_on(store: Store) -> None:
    """Another URL or profile takes effect with the next fetch; until then, and over a restart, what is held stays."""
    made = federation(store)
    held = authority().bundle(3)
    assert await made.create(SPIFFE, held) == "created"
    moved = replace(WEB, url="https://elsewhere.test/")
    assert await made.update(moved, None, dry_run=True) == "updated"
    assert made.state(THEIRS).relation.same_as(SPIFFE)
    assert await made.update(moved, None) == "updated"
    assert await made.update(moved, None) == "unchanged"
    again = federation(store)
    await again.load()
    for each in (made, again):
        assert each.state(THEIRS).relation.same_as(moved)
        assert each.held[THEIRS].bundle == held


async def test_only_a_relation_that_is_there_is_changed(store: Store) -> None:
    """A slip of the pen in the name makes no relation; what could not be used safely is refused as in a creation."""
    made = federation(store)
    with pytest.raises(RingfenceError) as caught:
        await made.update(WEB, None)
    assert caught.value.kind is Kind.NOT_FOUND
    assert not made.states
    await made.create(WEB, None)
    with pytest.raises(RingfenceError) as caught:
        await made.update(replace(WEB, url="http://b.test/"), None)
    assert caught.value.kind is Kind.INVALID
    assert made.state(THEIRS).relation.same_as(WEB)


async def test_what_was_under_way_to_the_old_place_is_thrown_away(store: Store) -> None:
    """A bundle that was asked for before the change may come from an endpoint that is believed no more."""
    clock, arrived, go_on = Clock(), asyncio.Event(), asyncio.Event()

    async def slow(_: Relation, __: SpiffeBundle | None) -> bytes:
        arrived.set()
        await go_on.wait()
        return authority().bundle(7).to_json()

    made = Federation(lambda: OWN, store, Bell(), clock=clock, fetch=slow)
    await made.create(WEB, None)
    fetching = asyncio.create_task(made.refresh(THEIRS))
    await arrived.wait()
    await made.update(replace(WEB, url="https://elsewhere.test/"), None)
    go_on.set()
    with pytest.raises(RingfenceError) as caught:
        await fetching
    assert caught.value.kind is Kind.CONFLICT
    assert THEIRS not in made.held
