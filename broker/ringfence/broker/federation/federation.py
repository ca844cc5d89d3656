"""What this server believes of other trust domains: bundles set by hand, and bundles fetched when it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ringfence.broker.bell import Bell
from ringfence.broker.entry import Entry
from ringfence.broker.federation.relation import Profile, Relation, check_bootstrap, check_relation, check_same
from ringfence.broker.log import log
from ringfence.broker.store import federation as stored
from ringfence.broker.store.engine import Store
from ringfence.broker.store.federation import Held
from ringfence.certs.bundle import REFRESH_HINT, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

SOONEST, LATEST = timedelta(seconds=5), timedelta(days=1)  # between two fetches, whatever a hint says

Fetch = Callable[[Relation, SpiffeBundle | None], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class State:
    """How a relation stands. Times are aware; `refreshed_at` None: not since the server started."""

    relation: Relation
    next_at: datetime
    refreshed_at: datetime | None = None
    failure: str = ""


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
        self._on_duty = on_duty or _always  # of several servers one fetches, and the others follow
        self._states: dict[TrustDomain, State] = {}
        self._hastened: dict[TrustDomain, datetime] = {}
        self._one_at_a_time = asyncio.Lock()  # over check, store and memory of one change
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Take up what is kept; every relation is fetched anew at once."""
        held, relations = await self._store.run(stored.every)
        self.held = {each.bundle.trust_domain: each for each in held}
        self._states = {relation.trust_domain: State(relation, self._clock()) for relation in relations}

    async def follow(self, _keys: frozenset[str] | None = None) -> None:
        """Take in what other servers have changed; a relation that is new to us is fetched at once."""
        async with self._one_at_a_time:
            held, relations = await self._store.run(stored.every)
            before, self.held = self.held, {each.bundle.trust_domain: each for each in held}
            known = {state.relation: state for state in self._states.values()}
            fresh = {r: known.get(r) or State(r, self._clock()) for r in relations}
            self._states = {relation.trust_domain: state for relation, state in fresh.items()}
            self._wake.set()
            if self.held != before:
                self.version += 1
                self._bell.ring()

    @property
    def states(self) -> tuple[State, ...]:
        """Every relation, by name."""
        return tuple(state for _, state in sorted(self._states.items()))

    def state(self, trust_domain: TrustDomain) -> State:
        """One relation; raises NOT_FOUND."""
        state = self._states.get(trust_domain)
        if state is None:
            raise RingfenceError(
                Kind.NOT_FOUND, f"there is no relation with {trust_domain}", hint="Run `ringfence federation list`"
            )
        return state

    def bundles_for(self, entries: Iterable[Entry]) -> Mapping[TrustDomain, SpiffeBundle]:
        """The bundles that *entries* federate with, as far as they are held, by name."""
        if not self.held:
            return {}  # the usual case costs nothing, however many entries there are
        wanted = {domain for entry in entries for domain in entry.federates_with}
        return {domain: self.held[domain].bundle for domain in sorted(wanted & self.held.keys())}

    async def set_bundle(self, bundle: SpiffeBundle) -> str:
        """Believe *bundle* from now on, whatever its sequence: an operator knows why. What was done; raises INVALID."""
        self._check_foreign(bundle.trust_domain)
        async with self._one_at_a_time:
            before = self.held.get(bundle.trust_domain)
            if before is not None and before.bundle == bundle:
                return "unchanged"
            await self._put(bundle)
            return "created" if before is None else "configured"

    async def delete_bundle(self, trust_domain: TrustDomain) -> bool:
        """Believe nothing of it any more; whether anything was. Raises CONFLICT while a relation fetches it."""
        async with self._one_at_a_time:
            self.check_unrelated(trust_domain)
            if trust_domain not in self.held:
                return False
            await self._store.run(stored.remove_bundle, trust_domain)
            self._forget(trust_domain)
            return True

    def check_unrelated(self, trust_domain: TrustDomain) -> None:
        """Raise CONFLICT while a relation fetches the bundle of *trust_domain*."""
        if trust_domain in self._states:
            raise RingfenceError(
                Kind.CONFLICT,
                f"the bundle of {trust_domain} would be fetched again",
                hint=f"End the relation: ringfence federation delete {trust_domain}",
            )

    async def create(self, relation: Relation, bootstrap: SpiffeBundle | None) -> str:
        """A relation, fetched at once by `run`; what was done. Raises INVALID, or CONFLICT for another of that name."""
        check_relation(relation, self._own().trust_domain)
        check_bootstrap(relation, bootstrap, self._endpoint_bundle(relation))
        async with self._one_at_a_time:
            known = self._states.get(relation.trust_domain)
            if known is not None:
                check_same(known.relation, relation)
                return "unchanged"
            now = self._clock()
            relation = replace(relation, created_at=int(now.timestamp()))
            held = None if bootstrap is None else Held(bootstrap, relation.created_at)
            await self._store.run(stored.put_relation, relation, held)
            self._states[relation.trust_domain] = State(relation, now)
            if held is not None:
                self._remember(held)
            self._wake.set()
            return "created"

    async def delete(self, trust_domain: TrustDomain) -> bool:
        """End a relation and forget its bundle (SPIFFE_Federation.md section 6.3); whether there was one."""
        async with self._one_at_a_time:
            if trust_domain not in self._states:
                return False
            await self._store.run(stored.remove_relation, trust_domain)
            del self._states[trust_domain]
            if trust_domain in self.held:
                self._forget(trust_domain)
            return True

    async def refresh(self, trust_domain: TrustDomain) -> State:
        """Fetch now; raises NOT_FOUND, or why it failed: then the last good bundle stays."""
        relation = self.state(trust_domain).relation
        try:
            text = await self._fetch(relation, self._endpoint_bundle(relation))
            await self._take(relation, SpiffeBundle.parse(trust_domain, text))
        except RingfenceError as error:
            self._failed(relation, error)
            raise
        return self.state(trust_domain)

    def may_hasten(self, trust_domain: TrustDomain) -> bool:
        """Whether there is a relation that was not hastened within `SOONEST`."""
        last = self._hastened.get(trust_domain)
        return trust_domain in self._states and (last is None or self._clock() - last >= SOONEST)

    def hasten(self, trust_domain: TrustDomain) -> None:
        """Fetch at once what a relation has: somebody saw a key that is not in the bundle (section 6.1)."""
        self._hastened[trust_domain] = now = self._clock()
        self._states[trust_domain] = replace(self._states[trust_domain], next_at=now)
        self._wake.set()

    async def run(self) -> None:
        """Fetch what is due, side by side, until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock()
            due = [state.relation.trust_domain for state in self._states.values() if state.next_at <= now]
            await self._refresh_all(due)
            pause = min((state.next_at for state in self._states.values()), default=None)
            seconds = None if pause is None else max((pause - self._clock()).total_seconds(), 0)
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _refresh_all(self, due: Sequence[TrustDomain]) -> None:
        if not due or await self._is_ours():
            await asyncio.gather(*map(self._refresh_quietly, due))
            return
        for domain in due:
            if (state := self._states.get(domain)) is not None:
                self._states[domain] = replace(state, next_at=self._next(domain))

    async def _is_ours(self) -> bool:
        try:
            return await self._on_duty()
        except RingfenceError:  # the database is away, and with it the place where a bundle would be kept
            return False

    async def _refresh_quietly(self, trust_domain: TrustDomain) -> None:
        try:
            await self.refresh(trust_domain)
        except RingfenceError as error:
            log.warning("bundle not refreshed", trust_domain=trust_domain.name, detail=error.detail, where=error.where)

    async def _take(self, relation: Relation, bundle: SpiffeBundle) -> None:
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
            self._states[domain] = State(relation, self._next(domain), self._clock())

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

    def _failed(self, relation: Relation, error: RingfenceError) -> None:
        # Section 6.2: at the next interval, not sooner.
        state = self._states.get(relation.trust_domain)
        if state is not None and state.relation == relation:
            next_at = self._next(relation.trust_domain)
            self._states[relation.trust_domain] = replace(state, next_at=next_at, failure=str(error))

    def _next(self, trust_domain: TrustDomain) -> datetime:
        held = self.held.get(trust_domain)
        hint = REFRESH_HINT if held is None else held.bundle.refresh_hint
        return self._clock() + min(max(hint, SOONEST), LATEST)

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
