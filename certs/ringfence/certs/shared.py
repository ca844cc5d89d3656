"""A bundle that several servers of one trust domain make together: what those above and below put into it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ringfence.certs.bundle import PublicKey, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

LONGEST = timedelta(days=90)  # that a key stays without being published again
MAX_KEYS = 64  # of one server below
_MAX_KID = 256


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A JWT-SVID key that a server below published until `not_after`; `by` is the SPIFFE ID that it showed."""

    kid: str
    public_key: PublicKey
    not_after: datetime
    by: str

    @classmethod
    def read(cls, kid: str, spki: bytes, ends: int, by: str) -> PublishedKey:
        """From what was sent, *ends* in Unix seconds; raises INVALID."""
        if not kid or len(kid) > _MAX_KID or not kid.isprintable():
            raise _invalid("a JWT-SVID key has a name of up to 256 printable characters")
        try:
            key = load_der_public_key(spki)
            not_after = datetime.fromtimestamp(ends, UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            raise _invalid("the JWT-SVID key or its end cannot be read") from None
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise _invalid("a JWT-SVID key is elliptic curve or RSA")
        return cls(kid, key, not_after, by)


@dataclass(frozen=True, slots=True)
class Shared:
    """`above`: the roots and keys that the server above publishes, as last heard. `below`: keys of servers below.

    `withdrawn`: keys of ours and below that were revoked, until they would have ended: those above may show them yet.
    """

    above: SpiffeBundle | None = None
    below: tuple[PublishedKey, ...] = ()
    withdrawn: Mapping[str, datetime] = field(default_factory=dict)

    def heard(
        self,
        trust_domain: TrustDomain,
        *,
        roots: Iterable[bytes] | None = None,
        keys: Mapping[str, PublicKey] | None = None,
    ) -> Shared:
        """With what the server above says now; None leaves what it said before."""
        before = self.above or SpiffeBundle(trust_domain)
        changed = replace(
            before,
            x509_authorities=before.x509_authorities if roots is None else tuple(roots),
            jwt_authorities=before.jwt_authorities if keys is None else dict(keys),
        )
        return replace(self, above=changed)

    def with_key(self, key: PublishedKey, own: Iterable[str], now: datetime) -> Shared:
        """With *key*, in place of what its server published under that name before; raises INVALID, DENIED, EXHAUSTED.

        One whose end has passed is withdrawn. *own* are the names that are taken by keys of this server.
        """
        # 1. No server takes the place of another's key.
        others = [one for one in self.below if one.kid != key.kid]
        taken = {one.kid for one in self.below if one.by != key.by}.union(own)
        if key.kid in taken or (
            self.above and self.above.jwt_authorities.get(key.kid, key.public_key) != key.public_key
        ):
            raise RingfenceError(Kind.DENIED, f"the JWT-SVID key {key.kid} is another server's")
        # 2. One that has ended goes.
        if key.not_after <= now:
            held = next((one for one in self.below if one.kid == key.kid), None)
            gone = replace(self, below=tuple(others))
            return gone.without(key.kid, held.not_after) if held is not None and self.above is not None else gone
        # 3. No server fills the bundle.
        if sum(one.by == key.by for one in others) >= MAX_KEYS:
            raise RingfenceError(Kind.EXHAUSTED, f"{key.by} has published {MAX_KEYS} keys already")
        kept = replace(key, not_after=min(key.not_after, (now + LONGEST).replace(microsecond=0)))
        return replace(self, below=(*others, kept))

    def without(self, kid: str, until: datetime) -> Shared:
        """With a key of ours or of a server below withdrawn, however long those above still show it."""
        return replace(self, withdrawn={**self.withdrawn, kid: until})

    def alone(self) -> Shared:
        """With nobody above any more."""
        return replace(self, above=None, withdrawn={})

    def has_ended(self, now: datetime) -> bool:
        """Whether anything of it is over."""
        return self.pruned(now) != self

    def pruned(self, now: datetime) -> Shared:
        """Without what is over."""
        return replace(
            self,
            below=tuple(one for one in self.below if one.not_after > now),
            withdrawn={kid: until for kid, until in self.withdrawn.items() if until > now},
        )

    def merged(self, own: SpiffeBundle) -> SpiffeBundle:
        """*own* with everything that others put in; roots are those of the server above, if there is one."""
        above = self.above or SpiffeBundle(own.trust_domain)
        keys = {kid: key for kid, key in above.jwt_authorities.items() if kid not in self.withdrawn}
        keys |= {one.kid: one.public_key for one in self.below}
        return replace(
            own,
            x509_authorities=above.x509_authorities or own.x509_authorities,
            jwt_authorities={**keys, **own.jwt_authorities},
        )

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "above": base64.b64encode(self.above.to_json()).decode() if self.above else "",
            "below": [_dump_key(one) for one in self.below],
            "withdrawn": {kid: int(until.timestamp()) for kid, until in self.withdrawn.items()},
        }

    @classmethod
    def load(cls, state: Mapping[str, Any], trust_domain: TrustDomain) -> Shared:
        """What `dump` gave; raises INVALID."""
        if not state:
            return cls()
        try:
            above = base64.b64decode(state["above"])
            below = tuple(
                PublishedKey.read(one["kid"], base64.b64decode(one["public_key"]), one["not_after"], one["by"])
                for one in state["below"]
            )
            withdrawn = {kid: datetime.fromtimestamp(until, UTC) for kid, until in state["withdrawn"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _invalid("what other servers published cannot be read") from None
        return cls(SpiffeBundle.parse(trust_domain, above) if above else None, below, withdrawn)


def spki_of(key: PublicKey) -> bytes:
    """The SubjectPublicKeyInfo (DER) of *key*."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _dump_key(one: PublishedKey) -> dict[str, Any]:
    spki = base64.b64encode(spki_of(one.public_key)).decode()
    return {"kid": one.kid, "public_key": spki, "not_after": int(one.not_after.timestamp()), "by": one.by}


def _invalid(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail)
