"""The life of one kind of authority: prepare, activate, taint, revoke, each in its order, without a gap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BACKDATE
from ringfence.certs.rotation import Step, next_step


class Part(Protocol):
    """One authority: an X.509 root or a JWT key."""

    @property
    def id(self) -> str:
        """Its name in listings and commands."""
        ...

    @property
    def key_id(self) -> str:
        """The name of its private key."""
        ...

    @property
    def issuer_id(self) -> str:
        """The subject key id of the upstream that signed it, in hex; empty when nobody did."""
        ...

    @property
    def not_before(self) -> datetime:
        """When its life begins."""
        ...

    @property
    def not_after(self) -> datetime:
        """When its life ends."""
        ...


P = TypeVar("P", bound=Part)


class Line(Generic[P]):
    """`current` signs, `next` is published before its use, each of `old` stays until its last SVID has ended.

    The order is SPIRE's: only the next one is activated, only an old one is tainted, only a tainted one is revoked.
    """

    def __init__(
        self,
        kind: str,
        current: P,
        *,
        following: P | None = None,
        old: tuple[P, ...] = (),
        tainted: frozenset[str] = frozenset(),
    ) -> None:
        self.kind = kind
        self.current = current
        self.next = following
        self.old = old
        self.tainted = tainted

    def every(self) -> tuple[P, ...]:
        """All of them, the signing one first."""
        return (self.current, *([self.next] if self.next is not None else []), *self.old)

    def find(self, authority_id: str) -> P:
        """The one of that name; raises NOT_FOUND."""
        for one in self.every():
            if one.id == authority_id:
                return one
        raise RingfenceError(
            Kind.NOT_FOUND, f"there is no {self.kind} authority {authority_id}", hint=f"Run: {_show(self.kind)}"
        )

    def state_of(self, authority_id: str) -> str:
        """active, prepared, old or tainted; raises NOT_FOUND."""
        one = self.find(authority_id)
        if one is self.current:
            return "active"
        if one is self.next:
            return "prepared"
        return "tainted" if authority_id in self.tainted else "old"

    def prepare(self, make: Callable[[], P], now: datetime) -> P:
        """Have a next one, to be published; raises CONFLICT when there is one that has not ended."""
        self.check_unprepared(now)
        self.next = made = make()
        return made

    def check_unprepared(self, now: datetime) -> None:
        """Raise CONFLICT when there is a next one that has not ended."""
        if self.next is not None and now < self.next.not_after:
            raise RingfenceError(
                Kind.CONFLICT,
                f"the next {self.kind} authority is prepared already: {self.next.id}",
                hint="Activate it",
            )

    def activate(self, now: datetime, authority_id: str = "") -> P:
        """Sign with the next one from now on; raises what `to_activate` raises."""
        following = self.to_activate(now, authority_id)
        self.current, self.next, self.old = following, None, (self.current, *self.old)
        return following

    def to_activate(self, now: datetime, authority_id: str = "") -> P:
        """The one that `activate` would take; raises CONFLICT unless it is the one named, prepared and alive."""
        # 1. Only the next one is ever activated: what retired never signs again.
        if authority_id and (state := self.state_of(authority_id)) != "prepared":
            raise self._order(authority_id, state, "activated", "a prepared one")
        # 2. It was published, and has not ended unused.
        if self.next is None or now >= self.next.not_after:
            raise RingfenceError(
                Kind.CONFLICT, f"no next {self.kind} authority is prepared", hint="Prepare one and publish it first"
            )
        return self.next

    def taint(self, authority_id: str = "") -> P:
        """Mark an old one as not to be relied on: what it signed is to be renewed. Raises what `to_taint` raises."""
        found = self.to_taint(authority_id)
        self.tainted |= {found.id}
        return found

    def to_taint(self, authority_id: str = "") -> P:
        """The one that `taint` would mark; raises CONFLICT for any but an old one."""
        found = self._one("old", authority_id)
        if (state := self.state_of(found.id)) != "old":
            raise self._order(found.id, state, "tainted", "an old one")
        return found

    def revoke(self, authority_id: str = "") -> P:
        """Take a tainted one out for good: what it signed is accepted no more. Raises what `to_revoke` raises."""
        found = self.to_revoke(authority_id)
        self._drop(lambda one: one is found)
        return found

    def to_revoke(self, authority_id: str = "") -> P:
        """The one that `revoke` would take out; raises CONFLICT for any but a tainted one."""
        found = self._one("tainted", authority_id)
        if (state := self.state_of(found.id)) != "tainted":
            raise self._order(found.id, state, "revoked", "a tainted one")
        return found

    def prune(self, now: datetime) -> None:
        """Drop old ones whose last SVID has ended."""
        self._drop(lambda one: now > one.not_after)

    def next_step(self, now: datetime) -> Step:
        """The step that is due: prepare at half of the life, activate at 5/6, prune when old SVIDs have ended."""
        following = self.next
        if following is not None and now >= following.not_after:
            following = None  # nobody looked for so long that it ended unused
        return next_step(
            self.current.not_before,
            self.current.not_after,
            published=None if following is None else following.not_before + BACKDATE,
            old_ends=(one.not_after for one in self.old),
            now=now,
        )

    def _drop(self, gone: Callable[[P], bool]) -> None:
        self.old = tuple(one for one in self.old if not gone(one))
        self.tainted &= {one.id for one in self.old}

    def _one(self, state: str, authority_id: str) -> P:
        """The one named, or the only one in that state: a guess among several is no answer."""
        if authority_id:
            return self.find(authority_id)
        found = [one for one in self.old if self.state_of(one.id) == state]
        if len(found) != 1:
            raise RingfenceError(
                Kind.CONFLICT,
                f"{len(found) or 'no'} {self.kind} authorities are {state}" + (": name one" if found else ""),
                hint=f"Run: {_show(self.kind)}",
            )
        return found[0]

    def _order(self, authority_id: str, state: str, verb: str, wanted: str) -> RingfenceError:
        return RingfenceError(
            Kind.CONFLICT,
            f"the {self.kind} authority {authority_id} is {state}: only {wanted} can be {verb}",
            hint="The order is prepare, activate (the one before is then old), taint, revoke",
        )


def _show(kind: str) -> str:
    return f"ringfence authority {kind.replace('.', '').lower()} show"
