"""Tokens and keys of a trust domain whose authorities we did not make: another library signs, by any algorithm."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from ringfence.certs.jws import ALGORITHMS

_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
SIGNERS: dict[str, Any] = {
    "rsa": RSAKey.import_key(rsa.generate_private_key(65537, 2048)),
    **{alg: ECKey.import_key(ec.generate_private_key(curve)) for alg, curve in _CURVES.items()},
}
AUTHORITIES = {kid: key.public_key for kid, key in SIGNERS.items()}


def key_of(alg: str) -> str:
    """The name of the key that signs by *alg*."""
    return "rsa" if alg[0] in "RP" else alg


def signed(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A token; a value of None takes the member out."""
    full = {name: value for name, value in header.items() if value is not None}
    body = {name: value for name, value in claims.items() if value is not None}
    registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
    return jws.serialize_compact(full, json.dumps(body), SIGNERS[key_of(full["alg"])], registry=registry)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its header and its claims."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def with_header(token: str, header: Mapping[str, Any]) -> str:
    """*token* with another header under its old signature."""
    _, claims, signature = token.split(".")
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{encoded}.{claims}.{signature}"
