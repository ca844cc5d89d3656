"""OpenID Connect discovery for JWT-SVIDs: two documents by which services that know no SPIFFE verify our tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError

DISCOVERY_PATH, KEYS_PATH = "/.well-known/openid-configuration", "/keys"
_HINT = "--oidc-issuer https://oidc.example.org, for example"


def check_issuer(issuer: str) -> str:
    """*issuer* itself, an https URL without query or fragment (OpenID Connect Discovery 1.0 section 3); raises INVALID.

    Plain http is for a loopback host only. No slash at the end: verifiers compare it letter by letter with `iss`.
    """
    try:
        url = urlsplit(issuer)
        host, _ = url.hostname, url.port
    except ValueError:
        raise _invalid(issuer, "is no URL") from None
    if not host or not issuer.isascii() or any(letter <= " " for letter in issuer):
        raise _invalid(issuer, "is no URL")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise _invalid(issuer, "is no https URL")
    if "?" in issuer or "#" in issuer or "@" in url.netloc:
        raise _invalid(issuer, "has a query, a fragment or a user in it")
    if issuer.endswith("/"):
        raise _invalid(issuer, "ends with a slash")
    return issuer


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine's own, whatever a resolver says."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def pages(issuer: str, bundle: SpiffeBundle) -> Mapping[str, bytes]:
    """Both documents by the path, under that of the issuer, at which verifiers ask for them."""
    path = urlsplit(issuer).path
    return {path + DISCOVERY_PATH: discovery(issuer), path + KEYS_PATH: key_set(bundle)}


def discovery(issuer: str) -> bytes:
    """The provider metadata: who signs, where its keys are, and nothing that we do not serve."""
    document = {
        "issuer": issuer,
        "jwks_uri": issuer + KEYS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["aud", "exp", "iat", "iss", "sub"],
    }
    return json.dumps(document).encode()


def key_set(bundle: SpiffeBundle) -> bytes:
    """The JWT-SVID keys as a JWK set (RFC 7517), with `use: sig` and `alg`, which SPIFFE bundles do not have."""
    keys = [
        {**ECKey.import_key(key).as_dict(private=False), "kid": kid, "use": "sig", "alg": "ES256"}
        for kid, key in sorted(bundle.jwt_authorities.items())
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ]
    return json.dumps({"keys": keys}).encode()


def _invalid(issuer: str, what: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"the issuer {issuer!r} {what}", hint=_HINT)
