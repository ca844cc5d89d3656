"""JWT-SVIDs: signed as the standard has it, and nothing else accepted."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jws import ALGORITHMS, LEEWAY
from ringfence.certs.jwt_svid import sign_jwt, validate_jwt
from ringfence.certs.spiffe_id import SpiffeId
from tests.certs.material import HOUR, MINUTE, NOW, OTHER_TD, SECOND, TD, TRAINER, new_authority

_AUTHORITY, _KEYS = new_authority()
_BUNDLES = {TD: _AUTHORITY.bundle(1)}
_TOKEN, _ENDS = _AUTHORITY.issue_jwt(TRAINER, ["db", "registry"], now=NOW, ttl=5 * MINUTE)
_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_PRIVATE: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    **{alg: ec.generate_private_key(curve) for alg, curve in _CURVES.items()},
}
_FOREIGN = SpiffeBundle(TD, jwt_authorities={name: key.public_key() for name, key in _PRIVATE.items()})
_CLAIMS = {"sub": str(TRAINER), "aud": ["db"], "exp": int((NOW + HOUR).timestamp())}


def _made(header: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None) -> str:
    """A token with any header and claims, signed by a key in the bundle that the header names."""
    full = {"alg": "ES256", "kid": "ES256", "typ": "JWT", **(header or {})}
    full = {name: value for name, value in full.items() if value is not None}
    body = {name: value for name, value in {**_CLAIMS, **(claims or {})}.items() if value is not None}
    private = _PRIVATE["rsa" if full["alg"][0] in "RP" else full["alg"]]
    key = RSAKey.import_key(private) if full["alg"][0] in "RP" else ECKey.import_key(private)
    registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
    return jws.serialize_compact(full, json.dumps(body), key, registry=registry)


def _refused(token: str, audience: str = "db", says: str = "") -> None:
    with pytest.raises(RingfenceError, match=says) as caught:
        validate_jwt(token, audience, {TD: _FOREIGN}, now=NOW)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert token not in str(caught.value)


def test_a_token_says_who_for_whom_and_until_when() -> None:
    """Validated for either audience, it gives its claims."""
    claims = validate_jwt(_TOKEN, "registry", _BUNDLES, now=NOW)
    assert claims.spiffe_id == TRAINER
    assert claims.audience == ("db", "registry")
    assert claims.expires_at == _ENDS == (NOW + 5 * MINUTE).replace(microsecond=0)
    assert claims.claims["iat"] == int(NOW.timestamp())


def test_what_is_signed_has_three_headers_and_four_claims() -> None:
    """alg, kid and typ; aud as a list, exp, iat and sub: nothing else leaves the house."""
    header, claims, _ = (base64.urlsafe_b64decode(part + "==") for part in _TOKEN.split("."))
    assert json.loads(header) == {"alg": "ES256", "kid": _AUTHORITY.current.jwt.kid, "typ": "JWT"}
    assert json.loads(claims).keys() == {"aud", "exp", "iat", "sub"}
    assert json.loads(claims)["aud"] == ["db", "registry"]


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_the_nine_algorithms_are_accepted(alg: str) -> None:
    """Federated domains may use any of them (JWT-SVID 2.1)."""
    kid = "rsa" if alg[0] in "RP" else alg
    assert validate_jwt(_made({"alg": alg, "kid": kid}), "db", {TD: _FOREIGN}, now=NOW).spiffe_id == TRAINER


def test_an_audience_may_be_one_string() -> None:
    """The text of the standard allows both, its schema says string: both are read."""
    assert validate_jwt(_made(claims={"aud": "db"}), "db", {TD: _FOREIGN}, now=NOW).audience == ("db",)


@pytest.mark.parametrize("typ", ["JWT", "JOSE", None])
def test_the_type_may_be_missing(typ: str | None) -> None:
    """JWT-SVID 2.3."""
    validate_jwt(_made({"typ": typ}), "db", {TD: _FOREIGN}, now=NOW)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"typ": "wit+jwt"}, "another type"),
        ({"typ": "jwt"}, "another type"),
        ({"kid": None}, "does not name its key"),
        ({"kid": ""}, "does not name its key"),
        ({"kid": "nobody"}, "no such JWT-SVID key"),
        ({"jku": "https://evil.example/"}, "may not have"),
        ({"cty": "JWT"}, "may not have"),
        ({"kid": "ES384"}, "does not verify"),
        ({"kid": "rsa"}, "does not verify"),
    ],
)
def test_headers_beyond_the_standard_are_refused(header: dict[str, Any], says: str) -> None:
    """Each guard of the header, by the one thing that trips it."""
    _refused(_made(header), says=says)


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA", "es256", "", 5, None])
def test_other_algorithms_are_refused_before_a_key_is_looked_up(alg: object) -> None:
    """`none` and shared secrets above all."""
    _, claims, signature = _TOKEN.split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "ES256"}).encode()).rstrip(b"=").decode()
    _refused(f"{header}.{claims}.{signature}", says="algorithm is not allowed")


def test_a_public_key_is_no_shared_secret() -> None:
    """The old confusion: HS256 keyed with the bytes that everyone may read."""
    secret = OctKey.import_key(_AUTHORITY.bundle(1).jwks())
    token = jws.serialize_compact(
        {"alg": "HS256", "kid": "ES256", "typ": "JWT"}, json.dumps(_CLAIMS), secret, algorithms=["HS256"]
    )
    _refused(token, says="algorithm is not allowed")


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"sub": None}, "no subject"),
        ({"sub": 5}, "no subject"),
        ({"sub": "https://example.org/a"}, "no SPIFFE ID"),
        ({"sub": "spiffe://Example.org/a"}, "no SPIFFE ID"),
        ({"sub": "spiffe://example.org"}, "no workload"),
        ({"sub": "spiffe://other.org/a"}, "not trusted here"),
        ({"aud": None}, "for whom"),
        ({"aud": []}, "for whom"),
        ({"aud": ["db", 5]}, "for whom"),
        ({"aud": {}}, "for whom"),
        ({"aud": ["registry"]}, "another audience"),
        ({"aud": "registry,db"}, "another audience"),
        ({"exp": None}, "does not say when"),
        ({"exp": "tomorrow"}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": 1e300}, "no time"),
        ({"exp": float("inf")}, "no time"),
        ({"exp": int((NOW - LEEWAY).timestamp())}, "expired"),
        ({"nbf": int((NOW + 12 * SECOND).timestamp())}, "not valid yet"),
        ({"iat": int((NOW + 12 * SECOND).timestamp())}, "not valid yet"),
    ],
)
def test_claims_that_do_not_hold_are_refused(claims: dict[str, Any], says: str) -> None:
    """Each guard of the claims, by the one thing that trips it."""
    _refused(_made(claims=claims), says=says)


def test_clocks_may_differ_a_little() -> None:
    """Ten seconds past its end, or before its beginning, a token still passes."""
    claims = {"exp": int((NOW - 9 * SECOND).timestamp()), "nbf": int((NOW + 9 * SECOND).timestamp())}
    validate_jwt(_made(claims=claims), "db", {TD: _FOREIGN}, now=NOW)


def test_no_domain_vouches_for_another() -> None:
    """A token for our domain, signed by a trusted foreign domain under the same kid, is refused."""
    other, other_keys = new_authority(OTHER_TD)
    jwt = other.current.jwt
    token, _ = sign_jwt(TRAINER, ["db"], authority=jwt, keys=other_keys, now=NOW, ttl=MINUTE)
    bundles = {TD: _AUTHORITY.bundle(1), OTHER_TD: other.bundle(1)}
    with pytest.raises(RingfenceError, match="no such JWT-SVID key"):
        validate_jwt(token, "db", bundles, now=NOW)
    same_kid = {
        TD: SpiffeBundle(TD, jwt_authorities={jwt.kid: _AUTHORITY.current.jwt.public_key}),
        OTHER_TD: bundles[OTHER_TD],
    }
    with pytest.raises(RingfenceError, match="does not verify"):
        validate_jwt(token, "db", same_kid, now=NOW)


def test_x509_keys_verify_no_token() -> None:
    """Only keys published for JWT-SVIDs do (JWT-SVID 6.2)."""
    without = SpiffeBundle(TD, x509_authorities=_AUTHORITY.bundle(1).x509_authorities)
    with pytest.raises(RingfenceError, match="no such JWT-SVID key"):
        validate_jwt(_TOKEN, "db", {TD: without}, now=NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "a..c",
        "é.b.c",
        json.dumps({"payload": "a", "signatures": []}),
        "W10.W10.AA",
        "e30=.e30=.AA",
        "e 30.e30.AA",
        _TOKEN + "=",
        _TOKEN + "\n",
        "." + _TOKEN,
        _TOKEN + "A" * (16 << 10),
        f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.e30.AA",
    ],
)
def test_only_the_compact_form_is_a_token(token: str) -> None:
    """JSON serialization, other numbers of parts, other alphabets and great lengths are refused."""
    with pytest.raises(RingfenceError) as caught:
        validate_jwt(token, "db", _BUNDLES, now=NOW)
    assert caught.value.kind is Kind.UNAUTHENTICATED


def test_a_token_has_one_spelling() -> None:
    """The unused bits of a last character are zero: whoever remembers a token's text sees no second one."""
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = last[last.index(_TOKEN[-1]) + 1]
    with pytest.raises(RingfenceError, match="compact serialization"):
        validate_jwt(_TOKEN[:-1] + other, "db", _BUNDLES, now=NOW)


@given(st.data())
def test_a_token_with_any_one_character_changed_is_refused(data: st.DataObject) -> None:
    """Header, claims and signature alike."""
    at = data.draw(st.integers(0, len(_TOKEN) - 1))
    other = data.draw(st.sampled_from("ABCDEFGHabcdefgh0123456789-_.").filter(lambda c: c != _TOKEN[at]))
    with pytest.raises(RingfenceError):
        validate_jwt(_TOKEN[:at] + other + _TOKEN[at + 1 :], "db", _BUNDLES, now=NOW)


@given(st.text(max_size=80))
def test_no_text_breaks_validation(token: str) -> None:
    """Noise ends in UNAUTHENTICATED."""
    with pytest.raises(RingfenceError):
        validate_jwt(token, "db", _BUNDLES, now=NOW)


@pytest.mark.parametrize(
    ("spiffe_id", "audience", "ttl", "says"),
    [
        (SpiffeId(TD, ""), ["db"], MINUTE, "no workload"),
        (TRAINER, [], MINUTE, "1 to 32 audiences"),
        (TRAINER, [""], MINUTE, "1 to 32 audiences"),
        (TRAINER, ["a"] * 33, MINUTE, "1 to 32 audiences"),
        (TRAINER, ["db"], -MINUTE, "end as it begins"),
    ],
)
def test_what_would_be_no_token_is_not_signed(spiffe_id: SpiffeId, audience: list[str], ttl: Any, says: str) -> None:
    """Each guard of signing, by the one thing that trips it."""
    with pytest.raises(RingfenceError, match=says) as caught:
        sign_jwt(spiffe_id, audience, authority=_AUTHORITY.current.jwt, keys=_KEYS, now=NOW, ttl=ttl)
    assert caught.value.kind is Kind.INVALID
