"""The authority of a trust domain: three generations, of which one signs, one is already published, and some retire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs import slot_state
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import sign_jwt, validate_jwt
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.profile import BACKDATE, LeafDraft, check_draft, draft_leaf
from ringfence.certs.rotation import Step, next_step, refresh_hint
from ringfence.certs.slot import JWT_PREFIX, X509_PREFIX, Slot, X509Authority
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

__all__ = ["CA_TTL", "Authority", "X509Authority"]

CA_TTL = timedelta(hours=24)


class Authority:
    """Signs with `current`; `next` is published before its use; each of `old` stays until its last SVID has ended.

    Store `to_state()` after every step, before the bundle that shows the step is handed out.
    """

    def __init__(
        self,
        keys: KeyManager,
        current: Slot,
        *,
        following: Slot | None = None,
        old: Sequence[Slot] = (),
        ca_ttl: timedelta = CA_TTL,
    ) -> None:
        self.trust_domain: TrustDomain = current.x509.trust_domain
        self.ca_ttl = ca_ttl
        self.current = current
        self.next = following
        self.old = tuple(old)
        self._keys = keys

    @classmethod
    def create(
        cls, trust_domain: TrustDomain, keys: KeyManager, *, now: datetime, ca_ttl: timedelta = CA_TTL
    ) -> Authority:
        """The first generation of a trust domain."""
        return cls(keys, Slot.create(trust_domain, keys, now=now, ttl=ca_ttl), ca_ttl=ca_ttl)

    def draft_x509(
        self,
        spiffe_id: SpiffeId,
        public_key: ec.EllipticCurvePublicKey,
        *,
        now: datetime,
        ttl: timedelta,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[IPv4Address | IPv6Address] = (),
    ) -> LeafDraft:
        """A checked draft for `sign_x509`: record it in between. Raises INVALID, DENIED, UNAVAILABLE."""
        issuer = self.current.x509
        if now >= issuer.not_after:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"the authority of {self.trust_domain} ended at {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}",
                hint="Check the clock; the server renews its authority by itself once that is right",
            )
        if now < issuer.not_before:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"the authority of {self.trust_domain} begins at {issuer.not_before:%Y-%m-%dT%H:%M:%SZ} only",
                hint="Check the clock: it was set back",
            )
        draft = draft_leaf(
            spiffe_id,
            public_key,
            now=now,
            ttl=ttl,
            issuer_not_before=issuer.not_before,
            issuer_not_after=issuer.not_after,
            dns_names=tuple(dns_names),
            ip_addresses=tuple(ip_addresses),
        )
        check_draft(draft, trust_domain=self.trust_domain)
        return draft

    def sign_x509(self, draft: LeafDraft) -> tuple[bytes, ...]:
        """The chain (DER, leaf first, root left out: today the leaf alone) for *draft*, signed and read back."""
        return (self.current.x509.sign(draft),)

    def issue_x509(
        self,
        spiffe_id: SpiffeId,
        public_key: ec.EllipticCurvePublicKey,
        *,
        now: datetime,
        ttl: timedelta,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[IPv4Address | IPv6Address] = (),
        on_draft: Callable[[LeafDraft], None] | None = None,
    ) -> tuple[bytes, ...]:
        """Draft, check, record (by *on_draft*), sign, check: the chain, leaf first. What *on_draft* raises ends it."""
        # 1. Draft and check: what is wrong is refused before anything is written.
        draft = self.draft_x509(spiffe_id, public_key, now=now, ttl=ttl, dns_names=dns_names, ip_addresses=ip_addresses)
        # 2. The intent is on record before the signature exists, so that a crash in between leaves a trace.
        if on_draft is not None:
            on_draft(draft)
        # 3. Sign, and read back what was signed.
        return self.sign_x509(draft)

    def issue_jwt(
        self, spiffe_id: SpiffeId, audience: Sequence[str], *, now: datetime, ttl: timedelta, issuer: str = ""
    ) -> tuple[str, datetime]:
        """A JWT-SVID and its end, validated as a stranger would before it is handed out. Raises INVALID, DENIED."""
        # 1. The name is ours to give.
        if spiffe_id.trust_domain != self.trust_domain:
            raise RingfenceError(Kind.DENIED, f"{spiffe_id} is not of the trust domain {self.trust_domain}")
        # 2. Sign.
        jwt = self.current.jwt
        token, ends = sign_jwt(spiffe_id, audience, authority=jwt, keys=self._keys, now=now, ttl=ttl, issuer=issuer)
        # 3. Read back what was signed.
        published = SpiffeBundle(self.trust_domain, jwt_authorities={jwt.kid: jwt.public_key})
        try:
            validate_jwt(token, audience[0], {self.trust_domain: published}, now=now)
        except RingfenceError as error:
            raise RingfenceError(
                Kind.INVALID, f"what was signed is no token: {error.detail}", hint="Check the key manager's key"
            ) from None
        return token, ends

    def next_step(self, now: datetime) -> Step:
        """The step that is due: prepare at half of the life, activate at 5/6, prune when old SVIDs have ended."""
        following = self.next
        if following is not None and now >= following.x509.not_after:
            following = None  # nobody looked for so long that it ended unused
        return next_step(
            self.current.x509.not_before,
            self.current.x509.not_after,
            published=None if following is None else following.x509.not_before + BACKDATE,
            old_ends=(slot.x509.not_after for slot in self.old),
            now=now,
        )

    def prepare(self, now: datetime) -> None:
        """Make the next generation, to be published; raises CONFLICT when there is one that has not ended."""
        if self.next is not None and now < self.next.x509.not_after:
            raise RingfenceError(Kind.CONFLICT, "the next authority is prepared already")
        self.next = Slot.create(self.trust_domain, self._keys, now=now, ttl=self.ca_ttl)

    def activate(self, now: datetime) -> None:
        """Sign with the next generation from now on; the current one retires. Raises CONFLICT when none is prepared."""
        if self.next is None or now >= self.next.x509.not_after:
            raise RingfenceError(
                Kind.CONFLICT, "no next authority is prepared", hint="Prepare one and publish it first"
            )
        self.current, self.next, self.old = self.next, None, (self.current, *self.old)

    def prune(self, now: datetime) -> None:
        """Drop old generations whose last SVID has ended, and every private key that will not sign again.

        Call it after the state was stored: it forgets the keys of retired and of half-made generations.
        """
        self.old = tuple(slot for slot in self.old if now <= slot.x509.not_after)
        kept = self.current.key_ids | (self.next.key_ids if self.next else frozenset())
        for key_id in self._keys.key_ids() - kept:
            if key_id.startswith((X509_PREFIX, JWT_PREFIX)):
                self._keys.delete(key_id)

    def bundle(self, sequence: int) -> SpiffeBundle:
        """All generations as others see them, the signing one first."""
        slots = [self.current, *([self.next] if self.next else []), *self.old]
        return SpiffeBundle(
            self.trust_domain,
            tuple(slot.x509.der for slot in slots),
            {slot.jwt.kid: slot.jwt.public_key for slot in slots},
            sequence,
            refresh_hint(self.ca_ttl),
        )

    def to_state(self) -> dict[str, Any]:
        """Certificates, public keys and key names as plain JSON values; never a private key."""
        return {
            "trust_domain": self.trust_domain.name,
            "ca_ttl_seconds": int(self.ca_ttl.total_seconds()),
            "current": slot_state.dump(self.current),
            "next": slot_state.dump(self.next) if self.next else None,
            "old": [slot_state.dump(slot) for slot in self.old],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], keys: KeyManager) -> Authority:
        """The authority that `to_state` described; raises INVALID, or NOT_FOUND when *keys* lacks a key that signs."""
        return cls(keys, **slot_state.load_authority(state, keys))
