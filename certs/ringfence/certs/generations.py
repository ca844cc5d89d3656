"""The generations of a trust domain's authority: what signs, what follows and what retires, of each kind of key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from ringfence.certs import slot_state
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.line import Line, Part
from ringfence.certs.profile import BACKDATE
from ringfence.certs.rotation import Step, refresh_hint
from ringfence.certs.shared import Shared
from ringfence.certs.slot import (
    JWT_PREFIX,
    WIT_PREFIX,
    X509_PREFIX,
    JwtAuthority,
    Slot,
    TokenAuthority,
    WitAuthority,
    X509Authority,
)
from ringfence.certs.slot_state import JWT, WIT, X509
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.upstream import Upstream

CA_TTL = timedelta(hours=24)
T = TypeVar("T", bound=TokenAuthority)
AnyLine = Line[X509Authority] | Line[JwtAuthority] | Line[WitAuthority]


class Generations:
    """Lines, `x509`, `jwt` and perhaps `wit`, each with a life of its own: what signs, what follows, what retires.

    Those that another server stored are shown by this class; ours are an `Authority`, which signs with them.

    Store `to_state()` after every step, before the bundle that shows the step is handed out.
    """

    def __init__(
        self,
        keys: KeyManager,
        x509: Line[X509Authority],
        jwt: Line[JwtAuthority],
        *,
        wit: Line[WitAuthority] | None = None,
        ca_ttl: timedelta = CA_TTL,
        upstream: Upstream | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.trust_domain: TrustDomain = x509.current.trust_domain
        self.ca_ttl = ca_ttl
        self.x509 = x509
        self.jwt = jwt
        self.wit = wit
        self.upstream = upstream
        self.shared = shared or Shared()  # what servers above and below put into the bundle
        self.keys = keys

    @classmethod
    def create(
        cls,
        trust_domain: TrustDomain,
        keys: KeyManager,
        *,
        now: datetime,
        ca_ttl: timedelta = CA_TTL,
        upstream: Upstream | None = None,
    ) -> Self:
        """The first generation of a trust domain; with *upstream* its X.509 part is an intermediate."""
        root = X509Authority.create(trust_domain, keys, now=now, ttl=ca_ttl, upstream=upstream)
        jwt = JwtAuthority.create(keys, not_before=root.not_before, not_after=root.not_after)
        _publish(jwt, upstream)
        return cls(keys, Line(X509, root), Line(JWT, jwt), ca_ttl=ca_ttl, upstream=upstream)

    @property
    def current(self) -> Slot:
        """What signs now."""
        return Slot(self.x509.current, self.jwt.current)

    @property
    def next(self) -> Slot | None:
        """What signs next, when both kinds are prepared."""
        x509, jwt = self.x509.next, self.jwt.next
        return None if x509 is None or jwt is None else Slot(x509, jwt)

    @property
    def lines(self) -> tuple[AnyLine, ...]:
        """Every line that there is, the X.509 one first."""
        return (self.x509, self.jwt) if self.wit is None else (self.x509, self.jwt, self.wit)

    def line(self, kind: str) -> AnyLine:
        """The line of *kind*; raises INVALID when there is no such kind."""
        for line in self.lines:
            if line.kind == kind:
                return line
        known = " or ".join(line.kind for line in self.lines)
        raise RingfenceError(Kind.INVALID, f"{kind!r} is no kind of authority here", hint=f"Say {known}")

    def want_wit(self, now: datetime, *, wanted: bool) -> bool:
        """Have a WIT line, or none; whether that changed anything. What goes is not in the bundle any more."""
        if wanted == (self.wit is not None):
            return False
        self.wit = Line(WIT, self._new_token_key(WitAuthority, now)) if wanted else None
        return True

    def check_revocable(self, kind: str) -> None:
        """Raise CONFLICT when a tainted one is an upstream's intermediate: its root would be trusted still."""
        if kind == X509 and any(one.chain for one in self.x509.old if one.id in self.x509.tainted):
            raise RingfenceError(
                Kind.CONFLICT,
                "an intermediate cannot be revoked here: the bundle holds its upstream's root, which stays trusted",
                hint="Replace the upstream's root, and let it go when the last SVID under it has ended",
            )

    @property
    def tainted(self) -> frozenset[str]:
        """The ids of all authorities whose SVIDs are to be renewed."""
        return frozenset().union(*(line.tainted for line in self.lines))

    def next_step(self, now: datetime) -> Step:
        """The step that is due for either kind; when several are, the first of activate, prepare, prune.

        Whoever is upstream may be away when one kind is to be prepared: the other is activated all the same.
        """
        due = {line.next_step(now) for line in self.lines}
        due |= {Step.PRUNE if self.shared.has_ended(now) else Step.WAIT}
        return next(step for step in (Step.ACTIVATE, Step.PREPARE, Step.PRUNE, Step.WAIT) if step in due)

    def due(self, step: Step, now: datetime) -> tuple[str, ...]:
        """The kinds for which *step* is due."""
        return tuple(line.kind for line in self.lines if line.next_step(now) is step)

    def prepare(self, now: datetime, kinds: Sequence[str] = ()) -> None:
        """Make the next authorities of *kinds* (none: of all), to be published; raises CONFLICT when one is there."""
        for kind in kinds or [line.kind for line in self.lines]:
            self.prepare_one(now, kind)

    def prepare_one(self, now: datetime, kind: str) -> X509Authority | TokenAuthority:
        """The same for one kind: the one that was made."""
        if kind == X509:
            return self._prepare_x509(now)
        if kind == WIT and self.wit is not None:
            return self.wit.prepare(lambda: self._new_token_key(WitAuthority, now), now)
        return self.jwt.prepare(lambda: self._new_token_key(JwtAuthority, now), now)

    def _new_token_key(self, kind: type[T], now: datetime) -> T:
        begins, ends = (now - BACKDATE).replace(microsecond=0), (now + self.ca_ttl).replace(microsecond=0)
        made = kind.create(self.keys, not_before=begins, not_after=ends)
        if isinstance(made, JwtAuthority):
            _publish(made, self.upstream)
        return made

    def _prepare_x509(self, now: datetime) -> X509Authority:
        made = self.x509.prepare(
            lambda: X509Authority.create(
                self.trust_domain, self.keys, now=now, ttl=self.ca_ttl, upstream=self.upstream
            ),
            now,
        )
        if self.shared.above is not None:
            self.shared = self.shared.heard(self.trust_domain, roots=made.roots)  # nothing newer was said above
        return made

    def withdraw(self, revoked: Part) -> None:
        """Keep a JWT-SVID key that was revoked out of the bundle, however long servers above still show it."""
        if isinstance(revoked, JwtAuthority) and self.shared.above is not None:
            self.shared = self.shared.without(revoked.kid, revoked.not_after)

    def unprepared(self, now: datetime) -> tuple[str, ...]:
        """The kinds that have no next authority which could be activated."""
        return tuple(line.kind for line in self.lines if line.next is None or now >= line.next.not_after)

    def activate(self, now: datetime, kinds: Sequence[str] = ()) -> None:
        """Sign with the next ones of *kinds* (none: of all); those before retire. Raises CONFLICT for none."""
        for line in self.lines:
            if not kinds or line.kind in kinds:
                line.activate(now)

    def prune(self, now: datetime) -> None:
        """Drop old authorities whose last SVID has ended, and every private key that has nothing to sign any more.

        Call it after the state was stored: it forgets the keys of dropped and of half-made authorities.
        """
        for line in self.lines:
            line.prune(now)
        self.shared = self.shared.pruned(now)
        self.forget_keys()

    def forget_keys(self) -> None:
        """Delete every private key of ours that has nothing to sign any more.

        A retired X.509 authority signs no certificate, but what is revoked of its own until the last of them has ended.
        """
        kept = {one.key_id for line in self.lines for one in (line.current, line.next) if one is not None}
        kept |= {one.key_id for one in self.x509.old}
        for key_id in self.keys.key_ids() - kept:
            if key_id.startswith((X509_PREFIX, JWT_PREFIX, WIT_PREFIX)):
                self.keys.delete(key_id)

    def bundle(self, sequence: int) -> SpiffeBundle:
        """All authorities as others see them, the signing ones first, and what other servers of the domain publish."""
        own = SpiffeBundle(
            self.trust_domain,
            tuple(dict.fromkeys(root for one in self.x509.every() for root in one.roots)),
            {key.kid: key.public_key for key in self.jwt.every()},
            sequence,
            refresh_hint(self.ca_ttl),
            {key.kid: key.public_key for key in self.wit.every()} if self.wit is not None else {},
        )
        return self.shared.merged(own)

    def to_state(self) -> dict[str, Any]:
        """Certificates, public keys and key names as plain JSON values; never a private key."""
        state = slot_state.dump_authority(self.trust_domain, self.ca_ttl, self.x509, self.jwt, self.wit)
        return {**state, "shared": self.shared.dump()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], keys: KeyManager, *, upstream: Upstream | None = None) -> Self:
        """The authority that `to_state` described; raises INVALID, or NOT_FOUND when *keys* lacks a key that signs.

        *upstream* signs the authorities to come; those that are there stay what they are.
        """
        parts = slot_state.load_authority(state, keys)
        shared = Shared.load(state.get("shared", {}), parts["x509"].current.trust_domain)
        if upstream is None or not upstream.shares:
            shared = shared.alone()
        return cls(keys, **parts, upstream=upstream, shared=shared)

    @classmethod
    def shown(cls, state: Mapping[str, Any]) -> Self:
        """What the `to_state` of another server described: it is shown here, and signs nothing. Raises INVALID."""
        keys = MemoryKeys()
        parts = slot_state.load_authority(state, keys, signs=False)
        return cls(keys, **parts, shared=Shared.load(state.get("shared", {}), parts["x509"].current.trust_domain))


def _publish(key: JwtAuthority, upstream: Upstream | None) -> None:
    """Have *key* known above before it signs."""
    if upstream is not None:
        upstream.publish(key.kid, key.public_key, key.not_after)
