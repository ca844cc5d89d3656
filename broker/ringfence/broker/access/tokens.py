"""OIDC tokens: what a compact JWS of a configured issuer proves, in numbered steps; none of it is ever in an error."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from joserfc.jwt import JWTClaimsRegistry

from ringfence.broker.access.issuer_keys import IssuerKeys
from ringfence.certs.errors import Kind, RingfenceError

# Asymmetric ones only: with `none` or HMAC whoever reads the published keys could sign (RFC 8725 section 3.1).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
DEFAULT_ALGORITHMS = ("RS256", "ES256")
MAX_TOKEN = 16 << 10  # bytes
LEEWAY = 60  # seconds that clocks may differ
_PARTS = 3  # of a compact JWS, RFC 7515 section 7.1
_MAX_SUBJECT = 255  # OpenID Connect Core section 2
_MIN_RSA = 2048  # bits, RFC 7518 section 3.3
_KEY_OF: Mapping[str, type[Any]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """One OIDC provider: tokens of `url` for `audience`, signed by one of its keys with one of `algorithms`."""

    url: str
    audience: str
    algorithms: tuple[str, ...]
    keys: IssuerKeys

    async def claims_of(self, token: str, now: datetime) -> Mapping[str, frozenset[str]]:
        """The claims of *token* that are texts, `sub` too; raises UNAUTHENTICATED, or UNAVAILABLE for its keys."""
        # 1. Its header has an algorithm that is allowed here, and asks for nothing else (RFC 7515 section 4.1.11).
        header = _object(_parts(token)[0])
        algorithm = header.get("alg")
        if algorithm not in self.algorithms or "crit" in header:
            raise _refused("its algorithm is not allowed here")
        # 2. The issuer has published the key that it names, for such signatures.
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise _refused("it does not name its key")
        key = _usable(await self.keys.find(kid), kid, algorithm)
        # 3. The signature verifies: from here on the claims are the issuer's.
        claims = self._verified(token, key, algorithm)
        # 4. It is of this issuer, for this audience, has begun, and ends, later than now.
        self._check(claims, now)
        # 5. It names somebody, in a way that fits a log.
        sub = claims["sub"]
        if not sub.isprintable() or not 0 < len(sub) <= _MAX_SUBJECT:
            raise _refused("its subject is no name")
        return {name: texts for name, value in claims.items() if (texts := _texts(value))}

    def _verified(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        try:
            payload = jws.deserialize_compact(token, key, algorithms=[algorithm]).payload
            claims: Any = json.loads(payload)
        except (JoseError, ValueError, RecursionError):
            raise _refused("its signature does not verify") from None
        if not isinstance(claims, dict):
            raise _refused("it has no claims")
        return claims

    def _check(self, claims: dict[str, Any], now: datetime) -> None:
        registry = JWTClaimsRegistry(
            int(now.timestamp()),
            LEEWAY,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(claims)
        except JoseError as error:
            # Our own words: the library's may repeat what is in the token.
            raise _refused(_WHY.get(str(getattr(error, "claim", "")), "a claim of it is not as it has to be")) from None


_WHY = {
    "iss": "it is of another issuer",
    "aud": "it is for another audience",
    "exp": "it has ended, or does not say when it does",
    "nbf": "it is not valid yet",
    "iat": "it is not valid yet",
    "sub": "it names nobody",
}


def unverified_issuer(token: str) -> str:
    """The issuer that *token* claims to be of, to look up whose keys judge it; raises UNAUTHENTICATED."""
    issuer = _object(_parts(token)[1]).get("iss")
    return issuer if isinstance(issuer, str) else ""


def _usable(keys: KeySet | None, kid: str, algorithm: str) -> Any:
    """The one key with that id, if it is public, for signatures, and of the algorithm's kind."""
    found: list[Any] = [key for key in keys.keys if key.kid == kid] if keys is not None else []
    if len(found) != 1:
        raise _refused("its issuer has no such key")
    [key] = found
    told = key.as_dict(private=False)
    if not isinstance(key, _KEY_OF[algorithm[:2]]):
        raise _refused("its key is for another algorithm")
    if told.get("use", "sig") != "sig" or told.get("alg", algorithm) != algorithm:
        raise _refused("its key is for something else")
    if isinstance(key, RSAKey) and key.public_key.key_size < _MIN_RSA:
        raise _refused("its key is too short")
    return key


def _texts(value: object) -> frozenset[str]:
    """A claim as the texts that a grant may name."""
    values = value if isinstance(value, list) else [value]
    return frozenset(each for each in values if isinstance(each, str))


def _parts(token: str) -> list[str]:
    parts = token.split(".")
    if len(token) > MAX_TOKEN or len(parts) != _PARTS or not all(parts):
        raise _refused("it is no signed JWT")
    return parts


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise _refused("it is no signed JWT") from None
    if not isinstance(value, dict):
        raise _refused("it is no signed JWT")
    return value


def _refused(why: str) -> RingfenceError:
    return RingfenceError(
        Kind.UNAUTHENTICATED, f"the token is refused: {why}", hint="Get a new one, or see docs/access.md"
    )
