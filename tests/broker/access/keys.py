"""An OIDC issuer for tests: keys, tokens, and (over HTTPS) its two documents."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

URL, AUDIENCE = "https://idp.example.org", "ringfence"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})


def claims(now: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """Those of a good token; None leaves one out."""
    at = int(now.timestamp())
    made = {"iss": URL, "aud": AUDIENCE, "sub": "ann", "iat": at, "exp": at + 300, "groups": ["leads"]} | changes
    return {name: value for name, value in made.items() if value is not None}


def token(said: Mapping[str, Any], key: Any = RSA, alg: str = "RS256", **header: Any) -> str:
    """*said*, signed."""
    head = {"alg": alg, "kid": key.kid} | header
    return jws.serialize_compact(
        {name: value for name, value in head.items() if value is not None},
        json.dumps(said).encode(),
        key,
        algorithms=["RS256", "RS384", "ES256"],
    )


def key_set(*keys: Any, **changes: Any) -> bytes:
    """What the issuer publishes."""
    return json.dumps({"keys": [{**key.as_dict(private=False), **changes} for key in keys]}).encode()


def forged(said: Mapping[str, Any], key: Any, alg: str) -> str:
    """*said*, signed as an attacker who knows the published *key* can: by no key, or with it for a shared secret."""
    head, body = (_part(json.dumps(each).encode()) for each in ({"alg": alg, "kid": key.kid}, said))
    mac = hmac.digest(key.as_pem(private=False), f"{head}.{body}".encode(), "sha256") if alg == "HS256" else b"x"
    return f"{head}.{body}.{_part(mac)}"


def _part(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
