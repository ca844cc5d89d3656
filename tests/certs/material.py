"""A trust domain, a moment and a few names that the tests of identity share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")
OTHER_TD = TrustDomain("other.org")
NOW = datetime(2026, 11, 24, 12, 0, 0, 500_000, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
TRAINER = SpiffeId(TD, "/ns/team-a/sa/trainer")


def new_key() -> ec.EllipticCurvePrivateKey:
    """A workload's key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(
    trust_domain: TrustDomain = TD, *, now: datetime = NOW, wit: bool = False
) -> tuple[Authority, MemoryKeys]:
    """An authority and the keys behind it; with *wit* it has keys for WIT-SVIDs too."""
    keys = MemoryKeys()
    authority = Authority.create(trust_domain, keys, now=now)
    authority.want_wit(now, wanted=wit)
    return authority, keys


def openssl_time(moment: datetime) -> str:
    """*moment* as `openssl verify -attime` wants it."""
    return str(int(moment.timestamp()))
