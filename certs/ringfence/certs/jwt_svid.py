"""JWT-SVIDs: signed by a key manager's key, validated against the bundle of the subject's own trust domain."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from ringfence.certs.bundle import PublicKey, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.slot import JwtAuthority
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")  # JWT-SVID 2.1
LEEWAY = timedelta(seconds=10)  # clocks differ; the same span by which certificates are backdated
MAX_TOKEN_BYTES = 16 << 10
MAX_AUDIENCES = 32
_HEADERS = frozenset({"alg", "kid", "typ"})  # JWT-SVID 2: no others
_TYPES = frozenset({"JWT", "JOSE"})
_P256_BYTES = 32


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
    ends = min((now + ttl).replace(microsecond=0), authority.not_after)
    if ends <= now:
        raise RingfenceError(Kind.INVALID, "a JWT-SVID would end as it begins", hint="Check the ttl and the clock")
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
    content = f"{_encode(_json(header))}.{_encode(_json(claims))}"
    # 4. JWS wants r and s at full length, side by side (RFC 7518 3.4).
    r, s = decode_dss_signature(keys.sign(authority.key_id, content.encode()))
    return f"{content}.{_encode(r.to_bytes(_P256_BYTES, 'big') + s.to_bytes(_P256_BYTES, 'big'))}", ends


def validate_jwt(token: str, audience: str, bundles: Mapping[TrustDomain, SpiffeBundle], *, now: datetime) -> JwtClaims:
    """What *token* proves to *audience*; raises UNAUTHENTICATED on any doubt, in words that hold none of the token."""
    # 1. It is a compact JWS of a sane size with an allowed header, before any key is looked up (JWT-SVID 2).
    kid = _checked_header(token)
    # 2. The subject, read without trust, names the one trust domain whose keys may vouch for it (Workload API 6.3).
    claims = _claims(token)
    spiffe_id = _subject(claims)
    bundle = bundles.get(spiffe_id.trust_domain)
    if bundle is None:
        raise _refused(f"the trust domain {spiffe_id.trust_domain} is not trusted here")
    # 3. That domain has published the key, for JWT-SVIDs (JWT-SVID 6.2).
    key = bundle.jwt_authorities.get(kid)
    if key is None:
        raise _refused(f"{spiffe_id.trust_domain} has no such JWT-SVID key")
    # 4. The signature verifies; from here on the claims are true.
    _verify(token, key)
    # 5. It has not ended, and has begun where it says when (JWT-SVID 3.3).
    expires_at = _moment(claims, "exp")
    if expires_at is None or now >= expires_at + LEEWAY:
        raise _refused("the token has expired or does not say when it does")
    for name in ("nbf", "iat"):
        begins = _moment(claims, name)
        if begins is not None and now + LEEWAY < begins:
            raise _refused("the token is not valid yet")
    # 6. It is meant for this audience (JWT-SVID 3.2).
    audiences = _audiences(claims)
    if audience not in audiences:
        raise _refused("the token is for another audience")
    return JwtClaims(spiffe_id, audiences, expires_at, claims)


def _checked_header(token: str) -> str:
    parts = token.split(".")
    if len(token) > MAX_TOKEN_BYTES or len(parts) != 3 or not all(parts):  # noqa: PLR2004 (RFC 7515 7.1: three parts)
        raise _refused("it is no token in JWS compact serialization")
    _decode(parts[2])  # so that no token has two spellings
    header = _object(parts[0])
    if header.get("alg") not in ALGORITHMS:
        raise _refused("the token's algorithm is not allowed")
    if not header.keys() <= _HEADERS:
        raise _refused("the token's header has members that a JWT-SVID may not have")
    if header.get("typ", "JWT") not in _TYPES:
        raise _refused("the token is of another type")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _refused("the token does not name its key")
    return kid


def _claims(token: str) -> dict[str, Any]:
    return _object(token.split(".")[1])


def _subject(claims: Mapping[str, Any]) -> SpiffeId:
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise _refused("the token has no subject")
    try:
        spiffe_id = SpiffeId.parse(subject)
    except RingfenceError:
        raise _refused("the token's subject is no SPIFFE ID") from None
    if not spiffe_id.path:
        raise _refused("the token's subject is a trust domain, no workload")
    return spiffe_id


def _verify(token: str, key: PublicKey) -> None:
    imported = ECKey.import_key(key) if isinstance(key, ec.EllipticCurvePublicKey) else RSAKey.import_key(key)
    try:
        jws.deserialize_compact(token, imported, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError):
        raise _refused("the token's signature does not verify") from None


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"the token's {name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise _refused(f"the token's {name} is no time") from None


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get("aud")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) for one in values):
        raise _refused("the token does not say for whom it is")
    return tuple(values)


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except (ValueError, RecursionError):
        raise _refused("it is no token in JWS compact serialization") from None
    if not isinstance(value, dict):
        raise _refused("it is no token in JWS compact serialization")
    return value


def _decode(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    if _encode(data) != part:
        raise _refused("it is no token in JWS compact serialization")
    return data


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _refused(detail: str) -> RingfenceError:
    return RingfenceError(Kind.UNAUTHENTICATED, detail)
