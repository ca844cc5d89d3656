"""OIDC tokens: each guard by the token that only it refuses, and no word of a token in a refusal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet, RSAKey

from ringfence.broker.access.issuer_keys import IssuerKeys, _key_set
from ringfence.broker.access.tokens import DEFAULT_ALGORITHMS, TokenIssuer, unverified_issuer
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.access.keys import AUDIENCE, EC, NOW, RSA, URL, claims, forged, key_set, token

OTHER = RSAKey.generate_key(2048, {"kid": "rsa"})


def issuer(published: bytes = key_set(RSA, EC), algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS) -> TokenIssuer:
    """One whose keys are *published*."""

    async def source() -> KeySet:
        return _key_set(published)

    return TokenIssuer(URL, AUDIENCE, algorithms, IssuerKeys(source))


async def refusal(text: str, judge: TokenIssuer) -> str:
    """Why it is refused."""
    with pytest.raises(RingfenceError) as caught:
        await judge.claims_of(text, NOW)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    for part in text.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    return caught.value.detail.removeprefix("the token is refused: ")


@pytest.mark.parametrize(
    "good",
    [
        token(claims()),
        token(claims(), EC, "ES256"),
        token(claims(aud=["other", AUDIENCE])),
        token(claims(exp=int(NOW.timestamp()) - 59)),
        token(claims(nbf=int(NOW.timestamp()) + 60)),
    ],
)
async def test_a_good_token_names_its_subject_and_claims(good: str) -> None:
    """As the issuer said them; clocks may differ by a minute."""
    found = await issuer().claims_of(good, NOW)
    assert found["sub"] == {"ann"}
    assert found["groups"] == {"leads"}
    assert unverified_issuer(good) == URL


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"iss": "https://evil.example.org"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": [URL]}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": AUDIENCE + "x"}, "another audience"),
        ({"exp": int(NOW.timestamp()) - 60}, "ended"),
        ({"exp": None}, "ended"),
        ({"exp": "never"}, "ended"),
        ({"nbf": int(NOW.timestamp()) + 61}, "not valid yet"),
        ({"iat": int(NOW.timestamp()) + 61}, "not valid yet"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": 7}, "names nobody"),
        ({"sub": "a\nuid:0"}, "subject is no name"),
        ({"sub": "a" * 256}, "subject is no name"),
    ],
)
async def test_a_claim_that_is_not_as_it_has_to_be(changes: dict[str, Any], says: str) -> None:
    """Each of them by itself."""
    said = await refusal(token(claims(**changes)), issuer())
    assert says in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (forged(claims(), RSA, "HS256"), "algorithm"),
        (forged(claims(), EC, "none"), "algorithm"),
        (token(claims(), RSA, "RS384"), "algorithm"),
        (token(claims(), OTHER), "signature"),
        (token(claims(), RSA, kid=None), "name its key"),
        (token(claims(), RSA, kid="new"), "no such key"),
        (token(claims(), RSA, kid="ec"), "another algorithm"),
        (token(claims())[:-8] + "AAAAAAAA", "signature"),
        ("a.b", "signed JWT"),
        ("x" * 20_000, "signed JWT"),
        ("e30.e30.e30", "algorithm"),
    ],
)
async def test_a_token_that_its_issuer_did_not_sign(text: str, says: str) -> None:
    """Nor one that says how it wants to be judged."""
    assert says in await refusal(text, issuer())


@pytest.mark.filterwarnings("ignore:Key size")
async def test_keys_that_are_not_for_this() -> None:
    """Too short, for encryption, for another algorithm, or two of one name."""
    short = RSAKey.generate_key(1024, {"kid": "short"})
    assert "too short" in await refusal(token(claims(), short), issuer(key_set(short)))
    assert "something else" in await refusal(token(claims()), issuer(key_set(RSA, use="enc")))
    assert "something else" in await refusal(token(claims()), issuer(key_set(RSA, alg="PS256")))
    assert "no such key" in await refusal(token(claims()), issuer(key_set(RSA, OTHER)))


async def test_what_is_not_a_key_that_may_be_published_is_no_key() -> None:
    """A shared secret in the set is not taken, and what we cannot read does no harm to the rest."""
    assert _key_set(b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}, {"kty": "XX"}, 7, {"kty": "EC"}]}').keys == []
    assert [key.kid for key in _key_set(key_set(EC, RSA)).keys] == ["ec", "rsa"]
    assert isinstance(_key_set(key_set(EC)).keys[0], ECKey)
    with pytest.raises(ValueError, match="JWK set"):
        _key_set(b"[]")


async def test_a_new_minute_ends_it() -> None:
    """The same token, later."""
    text = token(claims())
    assert await issuer().claims_of(text, NOW + timedelta(minutes=5, seconds=59))
    with pytest.raises(RingfenceError, match="ended"):
        await issuer().claims_of(text, NOW + timedelta(minutes=6))
