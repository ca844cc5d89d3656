"""The authority of a trust domain: issues X.509-SVIDs and JWT-SVIDs by the generation that signs now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs import jws
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.generations import Generations
from ringfence.certs.jwt_svid import sign_jwt, validate_jwt
from ringfence.certs.profile import LeafDraft, check_draft, draft_leaf
from ringfence.certs.slot import WitAuthority, X509Authority
from ringfence.certs.spiffe_id import SpiffeId

__all__ = ["Authority", "X509Authority"]


class Authority(Generations):
    """Its generations, and what they sign. Each method that issues is the order of its steps."""

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
        issuer = self.x509.current
        _check_alive(issuer, now)
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
        """The chain (DER, leaf first, root left out) for *draft*, signed and read back."""
        return (self.x509.current.sign(draft), *self.x509.current.chain)

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
        self,
        spiffe_id: SpiffeId,
        audience: Sequence[str],
        *,
        now: datetime,
        ttl: timedelta,
        issuer: str = "",
        token_id: str = "",
    ) -> tuple[str, datetime]:
        """A JWT-SVID and its end, validated as a stranger would before it is handed out. Raises INVALID, DENIED."""
        # 1. The name is ours to give.
        if spiffe_id.trust_domain != self.trust_domain:
            raise RingfenceError(Kind.DENIED, f"{spiffe_id} is not of the trust domain {self.trust_domain}")
        # 2. Sign.
        jwt = self.jwt.current
        token, ends = sign_jwt(
            spiffe_id, audience, authority=jwt, keys=self.keys, now=now, ttl=ttl, issuer=issuer, token_id=token_id
        )
        # 3. Read back what was signed.
        published = SpiffeBundle(self.trust_domain, jwt_authorities={jwt.kid: jwt.public_key})
        with jws.read_back():
            validate_jwt(token, audience[0], {self.trust_domain: published}, now=now)
        return token, ends

    def wit_key(self) -> WitAuthority:
        """The key that signs WIT-SVIDs; raises UNIMPLEMENTED when there is none."""
        if self.wit is None:
            raise RingfenceError(Kind.UNIMPLEMENTED, "WIT-SVIDs are off", hint="Run the server with --feature wit-svid")
        return self.wit.current


def _check_alive(issuer: X509Authority, now: datetime) -> None:
    """Raise UNAVAILABLE unless *issuer* may sign at *now*."""
    if now >= issuer.not_after:
        raise RingfenceError(
            Kind.UNAVAILABLE,
            f"the authority of {issuer.trust_domain} ended at {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}",
            hint="Check the clock; the server renews its authority by itself once that is right",
        )
    if now < issuer.not_before:
        raise RingfenceError(
            Kind.UNAVAILABLE,
            f"the authority of {issuer.trust_domain} begins at {issuer.not_before:%Y-%m-%dT%H:%M:%SZ} only",
            hint="Check the clock: it was set back",
        )
