"""Compact JSON Web Signatures as SPIFFE's tokens have them: written by a key manager's key, read without trust."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

# JWT-SVID 2.1 and WIT-SVID 2.3 name the same nine.
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
LEEWAY = timedelta(seconds=10)  # clocks differ; the same span by which certificates are backdated
MAX_TOKEN_BYTES = 16 << 10
_P256_BYTES = 32
# Which headers there may be is the caller's question; `crit` and the types of known ones are checked here as well.
_REGISTRY = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)


def sign(header: Mapping[str, Any], claims: Mapping[str, Any], *, key_id: str, keys: KeyManager) -> str:
    """A token whose header says ES256, signed by the key *key_id* of *keys*."""
    content = f"{_encode(_json(header))}.{_encode(_json(claims))}"
    # JWS wants r and s at full length, side by side (RFC 7518 3.4).
    r, s = decode_dss_signature(keys.sign(key_id, content.encode()))
    return f"{content}.{_encode(r.to_bytes(_P256_BYTES, 'big') + s.to_bytes(_P256_BYTES, 'big'))}"


def end_of(kind: str, *, now: datetime, ttl: timedelta, signer_ends: datetime) -> datetime:
    """When a token of that kind ends: in whole seconds, and not after what signs it; raises INVALID."""
    ends = min((now + ttl).replace(microsecond=0), signer_ends)
    if ends <= now:
        raise RingfenceError(Kind.INVALID, f"a {kind} would end as it begins", hint="Check the ttl and the clock")
    return ends


def read_header(token: str) -> dict[str, Any]:
    """The header of a token of a sane size that names its key and an allowed algorithm; raises UNAUTHENTICATED."""
    parts = token.split(".")
    if len(token) > MAX_TOKEN_BYTES or len(parts) != 3 or not all(parts):  # noqa: PLR2004 (RFC 7515 7.1: three parts)
        raise refused("it is no token in JWS compact serialization")
    _decode(parts[2])  # so that no token has two spellings
    header = _object(parts[0])
    if header.get("alg") not in ALGORITHMS:
        raise refused("the token's algorithm is not allowed")
    if not isinstance(header.get("kid"), str) or not header["kid"]:
        raise refused("the token does not name its key")
    return header


def read_claims(token: str) -> dict[str, Any]:
    """Its claims, which nobody has vouched for yet."""
    return _object(token.split(".")[1])


def subject(claims: Mapping[str, Any]) -> SpiffeId:
    """The workload that it names as its subject; raises UNAUTHENTICATED when it names none."""
    found = claims.get("sub")
    if not isinstance(found, str):
        raise refused("the token has no subject")
    try:
        spiffe_id = SpiffeId.parse(found)
    except RingfenceError:
        raise refused("the token's subject is no SPIFFE ID") from None
    if not spiffe_id.path:
        raise refused("the token's subject is a trust domain, no workload")
    return spiffe_id


def vouching(claims: Mapping[str, Any], bundles: Mapping[TrustDomain, SpiffeBundle]) -> tuple[SpiffeId, SpiffeBundle]:
    """The subject, and what the one trust domain has published whose keys may vouch for it; raises UNAUTHENTICATED."""
    spiffe_id = subject(claims)
    bundle = bundles.get(spiffe_id.trust_domain)
    if bundle is None:
        raise refused(f"the trust domain {spiffe_id.trust_domain} is not trusted here")
    return spiffe_id, bundle


def check_signature(token: str, key: PublicKey) -> None:
    """Raise UNAUTHENTICATED unless *key* signed it, with the algorithm that its header names."""
    imported = ECKey.import_key(key) if isinstance(key, ec.EllipticCurvePublicKey) else RSAKey.import_key(key)
    try:
        jws.deserialize_compact(token, imported, registry=_REGISTRY)
    except (JoseError, ValueError):
        raise refused("the token's signature does not verify") from None


def check_time(claims: Mapping[str, Any], now: datetime, *, begins: tuple[str, ...]) -> datetime:
    """When it ends; raises UNAUTHENTICATED unless that is ahead, and what it says in *begins* behind."""
    expires_at = _moment(claims, "exp")
    if expires_at is None or now >= expires_at + LEEWAY:
        raise refused("the token has expired or does not say when it does")
    for name in begins:
        begun = _moment(claims, name)
        if begun is not None and now + LEEWAY < begun:
            raise refused("the token is not valid yet")
    return expires_at


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"the token's {name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise refused(f"the token's {name} is no time") from None


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except (ValueError, RecursionError):
        raise refused("it is no token in JWS compact serialization") from None
    if not isinstance(value, dict):
        raise refused("it is no token in JWS compact serialization")
    return value


def _decode(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    if _encode(data) != part:
        raise refused("it is no token in JWS compact serialization")
    return data


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refused(detail: str) -> RingfenceError:
    """Why a token is not accepted, in words that hold none of it."""
    return RingfenceError(Kind.UNAUTHENTICATED, detail)


@contextmanager
def read_back() -> Iterator[None]:
    """Around the validation of what was just signed: what strangers would not accept is INVALID, and stays here."""
    try:
        yield
    except RingfenceError as error:
        raise RingfenceError(
            Kind.INVALID, f"what was signed is no token: {error.detail}", hint="Check the key manager's key"
        ) from None
