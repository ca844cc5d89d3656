"""WIT-SVIDs: tokens bound to a key of the workload's (WIT-SVID.md of SPIFFE 665a28f, which is incubating).

A WIT-SVID says what key its workload holds; who shows one has proved nothing until it has proved that it holds the
key. It is no bearer token and never goes into HTTP's `Authorization` (sections 4 and 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from ringfence.certs import jws
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import PublicKey, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jws import ALGORITHMS, refused
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TYPE = "wit+jwt"  # section 2.2
MIN_RSA_BITS = 2048
_MIN_MODULUS = 342  # characters in base64url, of that many bits
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 3.4
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518 6


@dataclass(frozen=True, slots=True)
class Wit:
    """What a validated WIT-SVID says: `key`, used with `algorithm`, is of `spiffe_id` until `expires_at` (aware UTC).

    Not that whoever sent it is: that takes a proof by `key` of its own.
    """

    spiffe_id: SpiffeId
    key: PublicKey
    algorithm: str
    kid: str  # of the authority that signed it
    expires_at: datetime
    claims: Mapping[str, Any]


def issue_wit(
    authority: Authority,
    spiffe_id: SpiffeId,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    ttl: timedelta,
    token_id: str = "",
) -> tuple[str, datetime]:
    """A WIT-SVID (compact JWS, ES256) for whoever holds *public_key*, and its end, within its authority's life.

    Without `iss`, which OpenID Connect verifiers could mistake (section 3.7), and without `aud`, which it must not
    have (section 3.8). *token_id*, the `jti`, has to be unique in the trust domain, and tells no replay (section 3.3).
    Raises UNIMPLEMENTED when the authority has no WIT keys, DENIED for a foreign name, INVALID.
    """
    # 1. There is a key for it, and the name is ours to give, to a workload (section 3.1).
    signer = authority.wit_key()
    if spiffe_id.trust_domain != authority.trust_domain or not spiffe_id.path:
        raise RingfenceError(Kind.DENIED, f"{spiffe_id} is no workload of the trust domain {authority.trust_domain}")
    # 2. It ends, and not after what signs it (section 3.4).
    ends = jws.end_of("WIT-SVID", now=now, ttl=ttl, signer_ends=signer.not_after)
    # 3. The header says alg, kid and typ, and nothing else (section 2).
    header = {"alg": "ES256", "kid": signer.kid, "typ": TYPE}
    claims: dict[str, Any] = {
        "cnf": {"jwk": confirmation(public_key)},
        "exp": int(ends.timestamp()),
        "iat": int(now.timestamp()),
        "sub": str(spiffe_id),
    }
    if token_id:
        claims["jti"] = token_id
    token = jws.sign(header, claims, key_id=signer.key_id, keys=authority.keys)
    # 4. Read back what was signed.
    published = SpiffeBundle(authority.trust_domain, wit_authorities={signer.kid: signer.public_key})
    with jws.read_back():
        validate_wit(token, {authority.trust_domain: published}, now=now)
    return token, ends


def confirmation(public_key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The JWK of `cnf` (RFC 7800 3.2): the public key alone, and the algorithm that it is used with."""
    jwk = ECKey.import_key(public_key).as_dict(private=False)
    return {**{name: jwk[name] for name in ("kty", "crv", "x", "y")}, "alg": _CURVES[public_key.curve.name]}


def validate_wit(
    token: str,
    bundles: Mapping[TrustDomain, SpiffeBundle],
    *,
    now: datetime,
    longest: timedelta | None = None,
) -> Wit:
    """What *token* says, once it is true; raises UNAUTHENTICATED on any doubt, in words that hold none of the token.

    *longest*, if given, is the longest life that is accepted of tokens that say when they begin (section 3.5). Whoever
    shows the token is its workload only when it also proves to hold the key that is returned here (section 4).
    """
    # 1. It is a compact JWS of a sane size, by an allowed algorithm, that names its key and this type (section 2).
    header = jws.read_header(token)
    if header.get("typ") != TYPE:
        raise refused("the token is of another type")
    # 2. Headers that we do not know count for nothing, unless the issuer says that they must be known (section 2.4).
    if "crit" in header:
        raise refused("the token has critical headers that are not understood")
    # 3. The subject, read without trust, names the one trust domain whose keys may vouch for it.
    claims = jws.read_claims(token)
    spiffe_id, bundle = jws.vouching(claims, bundles)
    # 4. That domain has published the key, for WIT-SVIDs (section 6.2).
    authority = bundle.wit_authorities.get(header["kid"])
    if authority is None:
        raise refused(f"{spiffe_id.trust_domain} has no such WIT-SVID key")
    # 5. The signature verifies; from here on the claims are true.
    jws.check_signature(token, authority)
    # 6. It has not ended, and has begun where it says when; `iat` limits nothing (sections 3.4 to 3.6).
    expires_at = jws.check_time(claims, now, begins=("nbf",))
    _check_life(claims, longest)
    # 7. It is for no audience: whoever demands one takes it for a bearer token (section 3.8).
    if "aud" in claims:
        raise refused("the token has an audience, which a WIT-SVID may not have")
    # 8. It names one public key that its workload has to hold (section 3.2).
    key, algorithm = _confirmed(claims)
    return Wit(spiffe_id, key, algorithm, header["kid"], expires_at, claims)


def _check_life(claims: Mapping[str, Any], longest: timedelta | None) -> None:
    if longest is not None and "nbf" in claims and claims["exp"] - claims["nbf"] > longest.total_seconds():
        raise refused("the token lives longer than is accepted here")


def _confirmed(claims: Mapping[str, Any]) -> tuple[PublicKey, str]:
    cnf = claims.get("cnf")
    jwk = cnf.get("jwk") if isinstance(cnf, dict) else None
    if not isinstance(jwk, dict):
        raise refused("the token does not name its workload's key")
    algorithm = jwk.get("alg")
    if algorithm not in ALGORITHMS:
        raise refused("the algorithm of the workload's key is not allowed")
    if jwk.keys() & _PRIVATE_MEMBERS:
        raise refused("the token holds a private key")
    return _public_key(jwk, algorithm), algorithm


def _public_key(jwk: Mapping[str, Any], algorithm: str) -> PublicKey:
    """The key that *jwk* holds; raises UNAUTHENTICATED unless it is one for *algorithm*."""
    members = {name: jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk}
    key: object = None
    try:
        if jwk.get("kty") == "EC":
            key = ECKey.import_key(members).public_key
        elif jwk.get("kty") == "RSA" and len(jwk["n"]) >= _MIN_MODULUS:
            key = RSAKey.import_key(members).public_key
    except (JoseError, ValueError, KeyError, TypeError):
        raise refused("the workload's key cannot be read") from None
    if isinstance(key, ec.EllipticCurvePublicKey) and _CURVES.get(key.curve.name) == algorithm:
        return key
    if isinstance(key, rsa.RSAPublicKey) and algorithm[0] in "RP" and key.key_size >= MIN_RSA_BITS:
        return key
    raise refused("the workload's key is none for its algorithm")
