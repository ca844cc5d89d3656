"""What a trust domain publishes so that others can verify it: a SPIFFE bundle, a JWK set with two more members.

Published strictly, parsed tolerantly where the standard asks for it (SPIFFE_Trust_Domain_and_Bundle.md section 4).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
REFRESH_HINT = timedelta(minutes=5)  # section 6.1: low when nothing else is known
MAX_BUNDLE_BYTES = 4 << 20
_X509, _JWT, _WIT = "x509-svid", "jwt-svid", "wit-svid"
_KEY_TYPES = ("EC", "RSA")
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e")


@dataclass(frozen=True, slots=True)
class SpiffeBundle:
    """The authorities of one trust domain. `sequence` grows with every change."""

    trust_domain: TrustDomain
    x509_authorities: tuple[bytes, ...] = ()
    jwt_authorities: Mapping[str, PublicKey] = field(default_factory=dict)
    sequence: int = 0
    refresh_hint: timedelta = REFRESH_HINT
    wit_authorities: Mapping[str, PublicKey] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The whole bundle as JSON: x509-svid keys without `kid` and with one certificate, the others with `kid`."""
        return dump({**self.content(), "spiffe_refresh_hint": int(self.refresh_hint.total_seconds())})

    def content(self) -> dict[str, Any]:
        """The same as values, without the hint when to look again."""
        keys = [*map(_x509_jwk, self.x509_authorities), *self._jwt_jwks(), *self._wit_jwks()]
        return {"keys": keys, "spiffe_sequence": self.sequence}

    def jwks(self) -> bytes:
        """The JWT-SVID keys alone, as JSON (what the Workload API's FetchJWTBundles carries)."""
        return dump({"keys": self._jwt_jwks()})

    def wit_jwks(self) -> bytes:
        """The WIT-SVID keys alone, as JSON (what the Workload API's FetchWITBundles carries)."""
        return dump({"keys": self._wit_jwks()})

    def x509_pem(self) -> bytes:
        """All roots as PEM, one after the other."""
        return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in self.x509_authorities)

    def x509_der(self) -> bytes:
        """All roots as DER, one after the other (Workload API section 5.2)."""
        return b"".join(self.x509_authorities)

    @classmethod
    def parse(cls, trust_domain: TrustDomain, text: bytes) -> SpiffeBundle:
        """The bundle that *text* holds; raises INVALID. Keys of unknown type or use are skipped, broken ones not.

        But a WIT-SVID key that is broken, or whose `kid` another key has, is skipped as well: a part of the standard
        that may still change costs a trust domain no more than that part.
        """
        return cls.of(trust_domain, load(text))

    @classmethod
    def of(cls, trust_domain: TrustDomain, document: Mapping[str, object]) -> SpiffeBundle:
        """The same of JSON that was read."""
        keys = document.get("keys")
        if not isinstance(keys, list):
            raise _invalid("`keys` is missing or no list")
        roots: dict[bytes, None] = {}
        tokens: dict[str, PublicKey] = {}
        for index, jwk in enumerate(keys):
            _take(jwk, f"keys[{index}]", roots, tokens)
        return cls(
            trust_domain,
            tuple(roots),
            tokens,
            _whole(document, "spiffe_sequence", 0),
            timedelta(seconds=_whole(document, "spiffe_refresh_hint", int(REFRESH_HINT.total_seconds()))),
            _wit_keys(keys, frozenset(tokens)),
        )

    def _jwt_jwks(self) -> list[dict[str, Any]]:
        return _jwks(_JWT, self.jwt_authorities)

    def _wit_jwks(self) -> list[dict[str, Any]]:
        return _jwks(_WIT, self.wit_authorities)


def digest_of(bundles: Iterable[SpiffeBundle]) -> bytes:
    """SHA-256 over *bundles* with their names, in the order of these; empty for none."""
    found = {bundle.trust_domain: bundle.to_json() for bundle in bundles}
    if not found:
        return b""
    parts = [part for name, text in sorted(found.items()) for part in (name.name.encode(), text)]
    return hashlib.sha256(b"\0".join(parts)).digest()


def _x509_jwk(der: bytes) -> dict[str, Any]:
    key = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(key, PublicKey):
        raise _invalid("an authority's key is neither elliptic curve nor RSA")
    return {**_public_jwk(key), "use": _X509, "x5c": [base64.b64encode(der).decode()]}


def _jwks(use: str, keys: Mapping[str, PublicKey]) -> list[dict[str, Any]]:
    return [{**_public_jwk(key), "use": use, "kid": kid} for kid, key in sorted(keys.items()) if kid]


def _wit_keys(jwks: Iterable[Any], taken: frozenset[str]) -> dict[str, PublicKey]:
    """The WIT-SVID keys of *jwks* whose `kid` is theirs alone, in the whole bundle (WIT-SVID 6.1)."""
    named = [jwk for jwk in jwks if jwk.get("use") == _WIT and isinstance(jwk.get("kid"), str) and jwk["kid"]]
    times = Counter(jwk["kid"] for jwk in named)
    found: dict[str, PublicKey] = {}
    for jwk in named:
        if jwk["kid"] not in taken and times[jwk["kid"]] == 1 and jwk.get("kty") in _KEY_TYPES:
            with suppress(RingfenceError):
                found[jwk["kid"]] = _token_key(jwk["kty"], jwk, "")
    return found


def _public_jwk(key: PublicKey) -> dict[str, Any]:
    imported = ECKey.import_key(key) if isinstance(key, ec.EllipticCurvePublicKey) else RSAKey.import_key(key)
    return {name: value for name, value in imported.as_dict(private=False).items() if name not in {"kid", "use"}}


def _take(jwk: object, where: str, roots: dict[bytes, None], tokens: dict[str, PublicKey]) -> None:
    # Section 4.2: an unknown or missing kty or use sets aside this key alone.
    if not isinstance(jwk, dict):
        raise _invalid(f"{where} is no object")
    kty, use = jwk.get("kty"), jwk.get("use")
    if not isinstance(kty, str) or kty not in _KEY_TYPES:
        return
    if use == _X509 and jwk.get("x5c"):
        roots[_root(jwk["x5c"], where)] = None
    elif use == _JWT and jwk.get("kid"):
        kid = jwk["kid"]
        if not isinstance(kid, str) or kid in tokens:
            raise _invalid(f"{where}.kid is no string, or is there twice")
        tokens[kid] = _token_key(kty, jwk, where)


def _root(x5c: object, where: str) -> bytes:
    # X509-SVID 6.2: only the first value counts.
    if not isinstance(x5c, list) or not isinstance(x5c[0], str):
        raise _invalid(f"{where}.x5c is no list of strings")
    try:
        der = base64.b64decode(x5c[0], validate=True)
        read_certificate(der)
    except ValueError:
        raise _invalid(f"{where}.x5c holds no certificate") from None
    return der


def _token_key(kty: str, jwk: dict[str, Any], where: str) -> PublicKey:
    try:
        public = {name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}
        return ECKey.import_key(public).public_key if kty == "EC" else RSAKey.import_key(public).public_key
    except (JoseError, ValueError, KeyError, TypeError):
        raise _invalid(f"{where} holds no {kty} public key") from None


def _whole(document: Mapping[str, object], name: str, default: int) -> int:
    value = document.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise _invalid(f"`{name}` is no whole number")
    return value


def load(text: bytes) -> dict[str, object]:
    """The JSON object that *text* is, no name in it twice (section 5 asks for that of maps); raises INVALID."""
    if len(text) > MAX_BUNDLE_BYTES:
        raise _invalid(f"it is longer than {MAX_BUNDLE_BYTES} bytes")
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _invalid("it is no JSON, or names a member twice") from None
    if not isinstance(document, dict):
        raise _invalid("it is no JSON object")
    return document


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(name)
        found[name] = value
    return found


def dump(document: Mapping[str, object]) -> bytes:
    """*document* as JSON: equal documents are equal bytes."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _invalid(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"the bundle cannot be read: {detail}")
