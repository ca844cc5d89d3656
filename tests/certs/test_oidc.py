"""What OpenID Connect verifiers read of us: the issuer's form, the metadata and the keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.oidc import check_issuer, discovery, is_loopback, key_set, pages
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

ISSUER = "https://oidc.example.org/cluster-a"
_TD, _NOW = TrustDomain("example.org"), datetime.now(UTC)
_TRAINER = SpiffeId(_TD, "/ns/team-a/sa/trainer")


@pytest.mark.parametrize(
    "issuer", [ISSUER, "https://oidc.example.org", "https://h:8443", "http://127.0.0.1:8080", "http://[::1]:1"]
)
def test_an_issuer_is_an_https_url(issuer: str) -> None:
    """OpenID Connect Discovery section 3; plain http for this machine only."""
    assert check_issuer(issuer) == issuer


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "oidc.example.org",
        "http://oidc.example.org",
        "http://127.0.0.1.example.org",
        "ftp://127.0.0.1",
        "https://",
        "https://h/?a=b",
        "https://h?",
        "https://h#f",
        "https://user:word@h",
        "https://h/",
        "https://h:port",
        "https://[h",
        "https://h /a",
        "https://\u00e4",
    ],
)
def test_anything_else_is_refused(issuer: str) -> None:
    """With what an issuer looks like."""
    with pytest.raises(RingfenceError) as caught:
        check_issuer(issuer)
    assert caught.value.kind is Kind.INVALID
    assert "--oidc-issuer" in caught.value.hint


def test_loopback_is_told_by_the_address() -> None:
    """Any other name could lead anywhere."""
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")  # not bound
    assert not is_loopback("localhost.example.org")


def test_the_pages_lie_under_the_issuers_path() -> None:
    """Discovery section 4: the well-known path is appended to the issuer."""
    authority = Authority.create(_TD, MemoryKeys(), now=_NOW)
    found = pages(ISSUER, authority.bundle(1))
    assert set(found) == {"/cluster-a/.well-known/openid-configuration", "/cluster-a/keys"}
    metadata = json.loads(discovery(ISSUER))
    assert metadata["issuer"] == ISSUER
    assert metadata["jwks_uri"] == ISSUER + "/keys"
    assert metadata["id_token_signing_alg_values_supported"] == ["ES256"]


def test_an_independent_verifier_takes_the_keys() -> None:
    """PyJWT accepts a token with its `iss`, by the key set alone; the next key is published before its use."""
    authority = Authority.create(_TD, MemoryKeys(), now=_NOW)
    authority.prepare(_NOW)
    keys = jwt.PyJWKSet.from_json(key_set(authority.bundle(1)).decode())
    assert {key.key_id for key in keys.keys} == {authority.current.jwt.kid, authority.next.jwt.kid}  # type: ignore[union-attr]
    authority.activate(_NOW)
    now = datetime.now(UTC)  # PyJWT asks the clock, and a run of all tests may be long under way
    token, _ = authority.issue_jwt(_TRAINER, ["sts.cloud"], now=now, ttl=timedelta(minutes=5), issuer=ISSUER)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key.key, algorithms=["ES256"], audience="sts.cloud", issuer=ISSUER)
    assert claims["sub"] == str(_TRAINER)
    with pytest.raises(jwt.InvalidIssuerError):
        jwt.decode(token, key.key, algorithms=["ES256"], audience="sts.cloud", issuer="https://other")


def test_key_sets_hold_public_members_only() -> None:
    """And `use: sig`, which is not SPIFFE's; X.509 authorities stay out."""
    authority = Authority.create(_TD, MemoryKeys(), now=_NOW)
    (key,) = json.loads(key_set(authority.bundle(1)))["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["use"], key["alg"], key["crv"]) == ("sig", "ES256", "P-256")


def test_without_an_issuer_a_token_has_no_iss() -> None:
    """And with one it is a JWT-SVID as before."""
    authority = Authority.create(_TD, MemoryKeys(), now=_NOW)
    bundles = {_TD: authority.bundle(1)}
    plain, _ = authority.issue_jwt(_TRAINER, ["a"], now=_NOW, ttl=timedelta(minutes=5))
    assert "iss" not in validate_jwt(plain, "a", bundles, now=_NOW).claims
    named, _ = authority.issue_jwt(_TRAINER, ["a"], now=_NOW, ttl=timedelta(minutes=5), issuer=ISSUER)
    assert validate_jwt(named, "a", bundles, now=_NOW).claims["iss"] == ISSUER
