"""When each bundle is fetched next: when its hint says so, or sooner when somebody missed a key of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ringfence.broker.federation.relation import Relation
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

SOONEST, LATEST = timedelta(seconds=5), timedelta(days=1)  # between two fetches, whatever a hint says


@dataclass(frozen=True, slots=True)
class State:
    """How a relation stands. Times are aware; `refreshed_at` None: not since the server started."""

    relation: Relation
    next_at: datetime
    refreshed_at: datetime | None = None
    failure: str = ""


class Timetable:
    """The relations and when each is due. Times are arguments, aware; a *hint* is how long a bundle says it is good."""

    def __init__(self) -> None:
        self._states: dict[TrustDomain, State] = {}
        self._hastened: dict[TrustDomain, datetime] = {}  # the last fetch out of turn, or the one to come

    def __contains__(self, trust_domain: TrustDomain) -> bool:
        return trust_domain in self._states

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

    def follow(self, relations: Iterable[Relation], now: datetime) -> None:
        """Hold exactly these: what is known of one stays, and one that is new is due at once."""
        known = {state.relation: state for state in self._states.values()}
        fresh = {relation: known.get(relation) or State(relation, now) for relation in relations}
        self._states = {relation.trust_domain: state for relation, state in fresh.items()}
        self._hastened = {domain: at for domain, at in self._hastened.items() if domain in self._states}

    def add(self, relation: Relation, now: datetime) -> None:
        """One more, due at once."""
        self._states[relation.trust_domain] = State(relation, now)

    def remove(self, trust_domain: TrustDomain) -> None:
        """One less."""
        del self._states[trust_domain]
        self._hastened.pop(trust_domain, None)

    def due(self, now: datetime) -> tuple[TrustDomain, ...]:
        """Those whose time has come."""
        return tuple(domain for domain, state in self._states.items() if state.next_at <= now)

    def next_at(self, but: Iterable[TrustDomain] = ()) -> datetime | None:
        """When the next is due, those in *but* left out; None for never."""
        left_out = frozenset(but)
        return min((state.next_at for domain, state in self._states.items() if domain not in left_out), default=None)

    def hasten(self, trust_domain: TrustDomain, now: datetime) -> bool:
        """Have it due at once, or as soon as `SOONEST` has passed since the last time that it was hastened.

        Whether that changed anything: it did not where there is no relation, or one that is hastened already. Whoever
        asks how often, a partner is asked out of turn once in `SOONEST`, and nobody who asks is forgotten.
        """
        state, last = self._states.get(trust_domain), self._hastened.get(trust_domain)
        if state is None or (last is not None and last > now):
            return False
        at = now if last is None else max(now, last + SOONEST)
        self._hastened[trust_domain] = at
        self._states[trust_domain] = replace(state, next_at=min(state.next_at, at))
        return True

    def is_hastened(self, trust_domain: TrustDomain) -> bool:
        """Whether it is due when it is because somebody missed a key."""
        return self._states[trust_domain].next_at == self._hastened.get(trust_domain)

    def fetched(self, relation: Relation, began: datetime, now: datetime, hint: timedelta) -> State:
        """The fetch that *began* then has brought a bundle."""
        domain = relation.trust_domain
        made = self._states[domain] = State(relation, self._after(domain, began, now, hint), now)
        return made

    def failed(self, relation: Relation, began: datetime, now: datetime, hint: timedelta, why: str) -> None:
        """It has brought none: the next is at the next interval, not sooner (SPIFFE_Federation.md section 6.2)."""
        state = self._states.get(relation.trust_domain)
        if state is not None and state.relation == relation:
            next_at = self._after(relation.trust_domain, began, now, hint)
            self._states[relation.trust_domain] = replace(state, next_at=next_at, failure=why)

    def skip(self, trust_domain: TrustDomain, now: datetime, hint: timedelta) -> None:
        """Another server fetches it this time."""
        if (state := self._states.get(trust_domain)) is not None:
            self._states[trust_domain] = replace(state, next_at=self._after(trust_domain, now, now, hint))

    def _after(self, trust_domain: TrustDomain, began: datetime, now: datetime, hint: timedelta) -> datetime:
        regular = now + min(max(hint, SOONEST), LATEST)
        missed = self._hastened.get(trust_domain)
        # A key that was missed after the fetch began may not be in what it brought.
        return regular if missed is None or missed <= began else min(regular, missed)
