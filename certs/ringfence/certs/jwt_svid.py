"""JWT-SVIDs: signed by a key manager's key, validated against the bundle of the subject's own trust domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ringfence.certs import jws
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jws import refused
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.slot import JwtAuthority
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

MAX_AUDIENCES = 32
_HEADERS = frozenset({"alg", "kid", "typ"})  # JWT-SVID 2: no others
_TYPES = frozenset({"JWT", "JOSE"})


@dataclass(frozen=True, slots=True)
class JwtClaims:
    """What a validated token says: its subject, its audiences, its end (aware UTC), and all of its claims."""

    spiffe_id: SpiffeId
    audience: tuple[str, ...]
    expires_at: datetime
    claims: Mapping[str, Any]


def sign_jwt(
    spiffe_id: SpiffeId,
    audience: Sequence[str],
    *,
    authority: JwtAuthority,
    keys: KeyManager,
    now: datetime,
    ttl: timedelta,
    issuer: str = "",
    token_id: str = "",
) -> tuple[str, datetime]:
    """A token (compact JWS, ES256) and its end, within the authority's own life; raises INVALID.

    *issuer* is the `iss` that OpenID Connect verifiers ask for; SPIFFE's do not, so it may be empty and left out.
    So may *token_id*, the `jti`, which is permitted and nothing that validators have to track (JWT-SVID 7.1).
    """
    # 1. It names a workload and at least one audience (JWT-SVID 3.1, 3.2).
    if not spiffe_id.path:
        raise RingfenceError(Kind.INVALID, f"{spiffe_id} names a trust domain, no workload")
    if not 0 < len(audience) <= MAX_AUDIENCES or not all(audience):
        raise RingfenceError(Kind.INVALID, f"a JWT-SVID is for 1 to {MAX_AUDIENCES} audiences, each of them named")
    # 2. It ends, and not after its authority.
    ends = jws.end_of("JWT-SVID", now=now, ttl=ttl, signer_ends=authority.not_after)
    # 3. The header says alg, kid and typ, and nothing else (JWT-SVID 2).
    header = {"alg": "ES256", "kid": authority.kid, "typ": "JWT"}
    claims: dict[str, Any] = {
        "aud": list(audience),
        "exp": int(ends.timestamp()),
        "iat": int(now.timestamp()),
        "sub": str(spiffe_id),
    }
    if issuer:
        claims["iss"] = issuer
    if token_id:
        claims["jti"] = token_id
    return jws.sign(header, claims, key_id=authority.key_id, keys=keys), ends


def validate_jwt(token: str, audience: str, bundles: Mapping[TrustDomain, SpiffeBundle], *, now: datetime) -> JwtClaims:
    """What *token* proves to *audience*; raises UNAUTHENTICATED on any doubt, in words that hold none of the token."""
    # 1. It is a compact JWS of a sane size with an allowed header, before any key is looked up (JWT-SVID 2).
    header = jws.read_header(token)
    if not header.keys() <= _HEADERS:
        raise refused("the token's header has members that a JWT-SVID may not have")
    if header.get("typ", "JWT") not in _TYPES:
        raise refused("the token is of another type")
    # 2. The subject, read without trust, names the one trust domain whose keys may vouch for it (Workload API 6.3).
    claims = jws.read_claims(token)
    spiffe_id, bundle = jws.vouching(claims, bundles)
    # 3. That domain has published the key, for JWT-SVIDs (JWT-SVID 6.2).
    key = bundle.jwt_authorities.get(header["kid"])
    if key is None:
        raise refused(f"{spiffe_id.trust_domain} has no such JWT-SVID key")
    # 4. The signature verifies; from here on the claims are true.
    jws.check_signature(token, key)
    # 5. It has not ended, and has begun where it says when (JWT-SVID 3.3).
    expires_at = jws.check_time(claims, now, begins=("nbf", "iat"))
    # 6. It is meant for this audience (JWT-SVID 3.2).
    audiences = _audiences(claims)
    if audience not in audiences:
        raise refused("the token is for another audience")
    return JwtClaims(spiffe_id, audiences, expires_at, claims)


def missing_key(token: str, bundles: Mapping[TrustDomain, SpiffeBundle]) -> tuple[TrustDomain, str] | None:
    """The trust domain and name of the key that *token* needs and a bundle lacks; None when none does.

    Nothing of it is true yet: it says where to look, not what to believe.
    """
    try:
        kid = jws.read_header(token)["kid"]
        domain = jws.subject(jws.read_claims(token)).trust_domain
    except RingfenceError:
        return None
    bundle = bundles.get(domain)
    return None if bundle is None or kid in bundle.jwt_authorities else (domain, kid)


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get("aud")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) for one in values):
        raise refused("the token does not say for whom it is")
    return tuple(values)
