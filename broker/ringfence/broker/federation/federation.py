"""What this server believes of other trust domains: bundles set by hand, and bundles fetched when it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from ringfence.broker.bell import Bell
from ringfence.broker.entry import Entry
from ringfence.broker.federation.relation import Profile, Relation, check_bootstrap, check_relation, check_same
from ringfence.broker.federation.rounds import Rounds
from ringfence.broker.federation.schedule import State, Timetable
from ringfence.broker.log import log
from ringfence.broker.store import federation as stored
from ringfence.broker.store.engine import Store
from ringfence.broker.store.federation import Held
from ringfence.certs.bundle import REFRESH_HINT, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

Put = Callable[[Connection, Relation, Held | None], None]
Fetch = Callable[[Relation, SpiffeBundle | None], Awaitable[bytes]]


class Federation:
    """Memory is what serves; the store is written when something changed, before memory shows it."""

    def __init__(
        self,
        own: Callable[[], SpiffeBundle],
        store: Store,
        bell: Bell,
        *,
        clock: Callable[[], datetime],
        fetch: Fetch | None = None,
        on_duty: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.held: dict[TrustDomain, Held] = {}
        self.version = 0  # grows with every change of a bundle
        self._own = own
        self._store = store
        self._bell = bell
        self._clock = clock
        self._fetch = fetch or _fetch
        self._one_at_a_time = asyncio.Lock()  # over check, store and memory of one change
        self._timetable = Timetable()
        self._rounds = Rounds(self._timetable, self.refresh, self._skip, clock=clock, on_duty=on_duty or _always)

    async def load(self) -> None:
        """Take up what is kept; every relation is fetched anew at once."""
        held, relations = await self._store.run(stored.every)
        self.held = {each.bundle.trust_domain: each for each in held}
        self._timetable.follow(relations, self._clock())

    async def follow(self, _keys: frozenset[str] | None = None) -> None:
        """Take in what other servers have changed; a relation that is new to us is fetched at once."""
        async with self._one_at_a_time:
            held, relations = await self._store.run(stored.every)
            before, self.held = self.held, {each.bundle.trust_domain: each for each in held}
            self._timetable.follow(relations, self._clock())
            self._rounds.wake()
            if self.held != before:
                self.version += 1
                self._bell.ring()

    @property
    def states(self) -> tuple[State, ...]:
        """Every relation, by name."""
        return self._timetable.states

    def state(self, trust_domain: TrustDomain) -> State:
        """One relation; raises NOT_FOUND."""
        return self._timetable.state(trust_domain)

    def is_related(self, trust_domain: TrustDomain) -> bool:
        """Whether there is a relation, which fetches the bundle."""
        return trust_domain in self._timetable

    def bundles_for(self, entries: Iterable[Entry]) -> Mapping[TrustDomain, SpiffeBundle]:
        """The bundles that *entries* federate with, as far as they are held, by name."""
        if not self.held:
            return {}  # the usual case costs nothing, however many entries there are
        wanted = {domain for entry in entries for domain in entry.federates_with}
        return {domain: self.held[domain].bundle for domain in sorted(wanted & self.held.keys())}

    async def set_bundle(self, bundle: SpiffeBundle, *, dry_run: bool = False) -> str:
        """Believe *bundle* from now on, whatever its sequence: an operator knows why. What was done; raises INVALID.

        Here and below, with *dry_run* it is what would be done: nothing changes, in memory or in the store.
        """
        self._check_foreign(bundle.trust_domain)
        async with self._one_at_a_time:
            before = self.held.get(bundle.trust_domain)
            if before is not None and before.bundle == bundle:
                return "unchanged"
            if not dry_run:
                await self._put(bundle)
            return "created" if before is None else "configured"

    async def delete_bundle(self, trust_domain: TrustDomain, *, dry_run: bool = False) -> bool:
        """Believe nothing of it any more; whether anything was. Raises CONFLICT while a relation fetches it."""
        async with self._one_at_a_time:
            self.check_unrelated(trust_domain)
            if trust_domain not in self.held:
                return False
            if not dry_run:
                await self._store.run(stored.remove_bundle, trust_domain)
                self._forget(trust_domain)
            return True

    def check_unrelated(self, trust_domain: TrustDomain) -> None:
        """Raise CONFLICT while a relation fetches the bundle of *trust_domain*."""
        if self.is_related(trust_domain):
            raise RingfenceError(
                Kind.CONFLICT,
                f"the bundle of {trust_domain} would be fetched again",
                hint=f"End the relation: ringfence federation delete {trust_domain}",
            )

    async def create(self, relation: Relation, bootstrap: SpiffeBundle | None, *, dry_run: bool = False) -> str:
        """A relation, fetched at once by `run`; what was done. Raises INVALID, or CONFLICT for another of that name."""
        check_relation(relation, self._own().trust_domain)
        check_bootstrap(relation, bootstrap, self._endpoint_bundle(relation))
        async with self._one_at_a_time:
            if self.is_related(relation.trust_domain):
                check_same(self.state(relation.trust_domain).relation, relation)
                return "unchanged"
            if not dry_run:
                relation = replace(relation, created_at=int(self._clock().timestamp()))
                await self._keep(stored.put_relation, relation, bootstrap)
            return "created"

    async def _keep(self, put: Put, relation: Relation, bootstrap: SpiffeBundle | None) -> None:
        now = self._clock()
        held = None if bootstrap is None else Held(bootstrap, int(now.timestamp()))
        await self._store.run(put, relation, held)
        self._timetable.add(relation, now)
        if held is not None:
            self._remember(held)
        self._rounds.wake()

    async def update(self, relation: Relation, bootstrap: SpiffeBundle | None, *, dry_run: bool = False) -> str:
        """The relation by another URL, profile or endpoint, fetched at once; the bundle that is held serves meanwhile.

        What was done. Raises INVALID, or NOT_FOUND where there is no relation to change.
        """
        check_relation(relation, self._own().trust_domain)
        check_bootstrap(relation, bootstrap, self._endpoint_bundle(relation))
        async with self._one_at_a_time:
            before = self.state(relation.trust_domain).relation
            if before.same_as(relation):
                return "unchanged"
            if not dry_run:
                relation = replace(relation, created_at=before.created_at)
                await self._keep(stored.replace_relation, relation, bootstrap)
            return "updated"

    async def delete(self, trust_domain: TrustDomain, *, dry_run: bool = False) -> bool:
        """End a relation and forget its bundle (SPIFFE_Federation.md section 6.3); whether there was one."""
        async with self._one_at_a_time:
            if not self.is_related(trust_domain):
                return False
            if not dry_run:
                await self._store.run(stored.remove_relation, trust_domain)
                self._timetable.remove(trust_domain)
                if trust_domain in self.held:
                    self._forget(trust_domain)
            return True

    async def refresh(self, trust_domain: TrustDomain) -> State:
        """Fetch now; raises NOT_FOUND, or why it failed: then the last good bundle stays."""
        relation, began = self.state(trust_domain).relation, self._clock()
        try:
            text = await self._fetch(relation, self._endpoint_bundle(relation))
            return await self._take(relation, SpiffeBundle.parse(trust_domain, text), began)
        except RingfenceError as error:
            self._timetable.failed(relation, began, self._clock(), self._hint(trust_domain), str(error))
            raise

    def hasten(self, trust_domain: TrustDomain) -> bool:
        """Fetch before the hint says so: somebody saw a key that is not in the bundle (section 6.1).

        Within `SOONEST` at the latest, and once in that time; whether it was not to be fetched so soon already.
        """
        hastened = self._timetable.hasten(trust_domain, self._clock())
        if hastened:
            self._rounds.wake()
        return hastened

    async def run(self) -> None:
        """Fetch what is due, until cancelled."""
        await self._rounds.run()

    async def _take(self, relation: Relation, bundle: SpiffeBundle, began: datetime) -> State:
        domain = relation.trust_domain
        async with self._one_at_a_time:
            # 1. The operator has not ended or changed the relation meanwhile.
            if self.state(domain).relation != relation:
                raise RingfenceError(Kind.CONFLICT, f"the relation with {domain} has changed meanwhile")
            # 2. An older bundle may trust a key that was withdrawn since (SPIFFE_Federation.md section 4.2).
            before = self.held.get(domain)
            if before is not None and bundle.sequence < before.bundle.sequence:
                raise RingfenceError(
                    Kind.CONFLICT,
                    f"the bundle of {domain} went back from {before.bundle.sequence} to {bundle.sequence}",
                    hint="If its server was set up anew, take its bundle over by hand: ringfence bundle set",
                )
            # 3. Kept before it is shown; an empty one too, which says that everything was withdrawn.
            if before is None or before.bundle != bundle:
                await self._put(bundle)
            return self._timetable.fetched(relation, began, self._clock(), self._hint(domain))

    async def _put(self, bundle: SpiffeBundle) -> None:
        held = Held(bundle, int(self._clock().timestamp()))
        await self._store.run(stored.put_bundle, held)
        self._remember(held)

    def _remember(self, held: Held) -> None:
        self.held[held.bundle.trust_domain] = held
        self._changed(held.bundle.trust_domain, held.bundle.sequence)

    def _forget(self, trust_domain: TrustDomain) -> None:
        del self.held[trust_domain]
        self._changed(trust_domain, None)

    def _changed(self, trust_domain: TrustDomain, sequence: int | None) -> None:
        self.version += 1
        log.info("federated bundle", trust_domain=trust_domain.name, sequence=sequence)
        self._bell.ring()

    def _hint(self, trust_domain: TrustDomain) -> timedelta:
        held = self.held.get(trust_domain)
        return REFRESH_HINT if held is None else held.bundle.refresh_hint

    def _skip(self, trust_domain: TrustDomain) -> None:
        self._timetable.skip(trust_domain, self._clock(), self._hint(trust_domain))

    def _endpoint_bundle(self, relation: Relation) -> SpiffeBundle | None:
        if relation.profile is Profile.WEB or relation.endpoint_id is None:
            return None
        domain, own = relation.endpoint_id.trust_domain, self._own()
        if domain == own.trust_domain:
            return own
        held = self.held.get(domain)
        return held.bundle if held else None

    def _check_foreign(self, trust_domain: TrustDomain) -> None:
        if trust_domain == self._own().trust_domain:
            raise RingfenceError(Kind.INVALID, f"{trust_domain} is this server's own trust domain")


async def _always() -> bool:
    return True


async def _fetch(relation: Relation, endpoint_bundle: SpiffeBundle | None) -> bytes:
    from ringfence.broker.federation.fetch import fetch  # most servers federate with nobody

    return await fetch(relation, endpoint_bundle)
