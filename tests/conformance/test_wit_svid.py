"""WIT-SVID.md (SPIFFE 665a28f), line by line: our tokens through other libraries, theirs through our validator."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from ringfence.certs import wit_svid
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jws import ALGORITHMS, LEEWAY
from ringfence.certs.jwt_svid import validate_jwt
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.wit_svid import Wit, confirmation, issue_wit, validate_wit
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, running_agent, workload_client
from tests.broker.server.harness import running_server
from tests.conformance import foreign
from tests.conformance.foreign import SIGNERS, key_of, parts, with_header

_TD, _OTHER = TrustDomain("example.org"), TrustDomain("other.org")
_NOW = datetime.now(UTC)
_MINUTE = timedelta(minutes=1)
_TRAINER = SpiffeId(_TD, "/ns/team-a/sa/trainer")
_WORKLOAD = ec.generate_private_key(ec.SECP256R1())


def _with_wit(trust_domain: TrustDomain = _TD) -> Authority:
    authority = Authority.create(trust_domain, MemoryKeys(), now=_NOW)
    authority.want_wit(_NOW, wanted=True)
    return authority


_AUTHORITY = _with_wit()
_TOKEN, _ENDS = issue_wit(_AUTHORITY, _TRAINER, _WORKLOAD.public_key(), now=_NOW, ttl=60 * _MINUTE, token_id="f" * 32)
# A trust domain whose authorities we did not make: one a type of key.
_FOREIGN = SpiffeBundle(_TD, wit_authorities=foreign.AUTHORITIES)
_CLAIMS = {
    "sub": str(_TRAINER),
    "exp": int((_NOW + 60 * _MINUTE).timestamp()),
    "cnf": {"jwk": confirmation(_WORKLOAD.public_key())},
}


def _made(header: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None) -> str:
    """A token by another library; a value of None takes the member out."""
    usual = {"alg": "ES256", "kid": "ES256", "typ": "wit+jwt"}
    return foreign.signed({**usual, **(header or {})}, {**_CLAIMS, **(claims or {})})


def _accepted(token: str, now: datetime = _NOW, **more: Any) -> Wit:
    return validate_wit(token, {_TD: _FOREIGN}, now=now, **more)


def _refused(token: str, says: str, now: datetime = _NOW, **more: Any) -> None:
    with pytest.raises(RingfenceError, match=says) as caught:
        _accepted(token, now, **more)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert len(token) < 200 or token not in str(caught.value)


def test_1_4_1_kid_names_one_key() -> None:
    """Section 2.1: ours is always there, random, and one a key pair; a token without, or of no such key, is refused."""
    kids = {_with_wit().wit_key().kid for _ in range(20)}
    assert len(kids) == 20
    assert parts(_TOKEN)[0]["kid"] == _AUTHORITY.wit_key().kid
    for kid, says in (
        (None, "does not name its key"),
        ("", "does not name its key"),
        ("es256", "no such WIT-SVID key"),
    ):
        _refused(_made({"kid": kid}), says)
    _refused(_made({"kid": "ES384"}), "does not verify")


@pytest.mark.parametrize("typ", [None, "JWT", "JOSE", "WIT+JWT", "wit", "application/wit+jwt", "wpt+jwt"])
def test_1_4_2_typ_is_wit_jwt(typ: str | None) -> None:
    """Section 2.2: exactly that, so that no token of another kind with the same claims passes for one."""
    assert parts(_TOKEN)[0]["typ"] == "wit+jwt"
    _refused(_made({"typ": typ}), "another type")


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_1_4_3_the_nine_algorithms_are_accepted(alg: str) -> None:
    """Section 2.3: a federated trust domain may use any of them."""
    assert _accepted(_made({"alg": alg, "kid": key_of(alg)})).spiffe_id == _TRAINER


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA", "ES256K", "es256", "", 5, None])
def test_1_4_3_others_are_refused_before_a_key_is_looked_up(alg: object) -> None:
    """Section 2.3: `none` and shared secrets above all."""
    _refused(with_header(_made(), {"alg": alg, "kid": "ES256", "typ": "wit+jwt"}), "algorithm is not allowed")


def test_1_4_3_a_public_key_is_no_shared_secret() -> None:
    """The old confusion: HS256 keyed with the bytes that everyone may read."""
    header = {"alg": "HS256", "kid": "ES256", "typ": "wit+jwt"}
    token = jws.serialize_compact(
        header, json.dumps(_CLAIMS), OctKey.import_key(_FOREIGN.wit_jwks()), algorithms=["HS256"]
    )
    _refused(token, "algorithm is not allowed")


def test_1_4_4_unknown_headers_count_for_nothing_unless_critical() -> None:
    """Section 2.4: we add none; those of others are ignored, but not when `crit` lists them, whatever else it says."""
    assert parts(_TOKEN)[0].keys() == {"alg", "kid", "typ"}
    assert _accepted(_made({"x": 1, "jku": "https://example.com/keys", "cty": "JWT"})).spiffe_id == _TRAINER
    for crit in (["x"], ["b64"], [], "x", None):
        header = {"alg": "ES256", "kid": "ES256", "typ": "wit+jwt", "x": 1, "b64": True, "crit": crit}
        _refused(with_header(_made(), header), "critical headers")


@pytest.mark.parametrize(
    ("sub", "says"),
    [
        (None, "no subject"),
        (5, "no subject"),
        ("trainer", "no SPIFFE ID"),
        ("spiffe://Example.org/x", "no SPIFFE ID"),
        ("spiffe://example.org", "no workload"),
        ("spiffe://other.org/x", "not trusted here"),
    ],
)
def test_1_4_5_sub_is_the_spiffe_id(sub: object, says: str) -> None:
    """Section 3.1."""
    assert parts(_TOKEN)[1]["sub"] == str(_TRAINER)
    _refused(_made(claims={"sub": sub}), says)


def test_1_4_5_only_the_subjects_own_trust_domain_vouches() -> None:
    """The same kid in another domain's bundle does not."""
    theirs = _with_wit(_OTHER)
    stolen = {_OTHER: theirs.bundle(1), _TD: SpiffeBundle(_TD, wit_authorities={"ES256": theirs.wit_key().public_key})}
    with pytest.raises(RingfenceError, match="does not verify"):
        validate_wit(_made(), stolen, now=_NOW)
    with pytest.raises(RingfenceError, match="no workload of the trust domain"):
        issue_wit(theirs, _TRAINER, _WORKLOAD.public_key(), now=_NOW, ttl=_MINUTE)


def test_1_4_6_cnf_holds_the_workloads_public_key() -> None:
    """Section 3.2: with its algorithm, and nothing that is private."""
    cnf = parts(_TOKEN)[1]["cnf"]
    assert cnf.keys() == {"jwk"}
    assert cnf["jwk"].keys() == {"kty", "crv", "x", "y", "alg"}
    wit = validate_wit(_TOKEN, {_TD: _AUTHORITY.bundle(1)}, now=_NOW)
    assert (wit.key, wit.algorithm) == (_WORKLOAD.public_key(), "ES256")


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_1_4_6_a_workloads_key_may_be_of_any_of_the_nine(alg: str) -> None:
    """Section 3.2; and it comes back as what a proof is verified with."""
    public = SIGNERS[key_of(alg)].as_dict(private=False)
    wit = _accepted(_made(claims={"cnf": {"jwk": {**public, "alg": alg}}}))
    assert (wit.key, wit.algorithm) == (SIGNERS[key_of(alg)].public_key, alg)


_JWK = confirmation(_WORKLOAD.public_key())
_SMALL = {**SIGNERS["rsa"].as_dict(private=False), "n": base64.urlsafe_b64encode(b"\xff" * 128).rstrip(b"=").decode()}


@pytest.mark.parametrize(
    ("cnf", "says"),
    [
        (None, "does not name"),
        ([], "does not name"),
        ({}, "does not name"),
        ({"jwk": "x"}, "does not name"),
        ({"kid": "x"}, "does not name"),
        ({"jwk": {**_JWK, "alg": None}}, "algorithm of the workload"),
        ({"jwk": {name: value for name, value in _JWK.items() if name != "alg"}}, "algorithm of the workload"),
        ({"jwk": {**_JWK, "alg": "HS256"}}, "algorithm of the workload"),
        ({"jwk": {**_JWK, "alg": ["ES256"]}}, "algorithm of the workload"),
        ({"jwk": {**ECKey.import_key(_WORKLOAD).as_dict(private=True), "alg": "ES256"}}, "private key"),
        ({"jwk": {"kty": "oct", "k": "AAAA", "alg": "ES256"}}, "private key"),
        ({"jwk": {**_JWK, "alg": "ES384"}}, "none for its algorithm"),
        ({"jwk": {**_JWK, "alg": "RS256"}}, "none for its algorithm"),
        ({"jwk": {**_SMALL, "alg": "RS256"}}, "none for its algorithm"),
        ({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "alg": "ES256"}}, "none for its algorithm"),
        ({"jwk": {"kty": "EC", "alg": "ES256"}}, "cannot be read"),
        ({"jwk": {**_JWK, "x": "AA"}}, "cannot be read"),
        ({"jwk": {**_JWK, "x": 5}}, "cannot be read"),
    ],
)
def test_1_4_6_what_is_no_public_key_is_refused(cnf: object, says: str) -> None:
    """Section 3.2: each guard by the one thing that trips it."""
    _refused(_made(claims={"cnf": cnf}), says)


def test_1_4_7_jti_is_unique_and_tells_no_replay() -> None:
    """Section 3.3: optional; the same token is accepted as often as it is shown."""
    assert parts(_TOKEN)[1]["jti"] == "f" * 32
    without, _ = issue_wit(_AUTHORITY, _TRAINER, _WORKLOAD.public_key(), now=_NOW, ttl=_MINUTE)
    assert "jti" not in parts(without)[1]
    bundles = {_TD: _AUTHORITY.bundle(1)}
    assert validate_wit(_TOKEN, bundles, now=_NOW) == validate_wit(_TOKEN, bundles, now=_NOW)


def test_1_4_8_exp_is_there_and_ahead() -> None:
    """Section 3.4: seconds of leeway, no more; the authority's end cuts it."""
    end = datetime.fromtimestamp(_CLAIMS["exp"], UTC)  # type: ignore[arg-type]
    assert _accepted(_made(), end + LEEWAY - timedelta(seconds=1)).expires_at == end
    _refused(_made(), "expired", end + LEEWAY)
    assert timedelta(0) < LEEWAY <= 2 * _MINUTE
    _refused(_made(claims={"exp": None}), "expired")
    for wrong in ("1", True, 1e300, [1]):
        _refused(_made(claims={"exp": wrong}), "no time")
    _, ends = issue_wit(_AUTHORITY, _TRAINER, _WORKLOAD.public_key(), now=_NOW, ttl=timedelta(days=9))
    assert ends == _AUTHORITY.wit_key().not_after
    with pytest.raises(RingfenceError, match="end as it begins"):
        issue_wit(_AUTHORITY, _TRAINER, _WORKLOAD.public_key(), now=_NOW, ttl=timedelta(0))


def test_1_4_8_nbf_ahead_is_refused_and_iat_limits_nothing() -> None:
    """Sections 3.5 and 3.6; a validator may also ask for short lives, of tokens that say when they begin."""
    ahead = int((_NOW + 2 * LEEWAY).timestamp())
    _refused(_made(claims={"nbf": ahead}), "not valid yet")
    assert _accepted(_made(claims={"nbf": ahead}), _NOW + 2 * LEEWAY).spiffe_id == _TRAINER
    for iat in (ahead + 10**6, 0, "never"):
        assert _accepted(_made(claims={"iat": iat})).spiffe_id == _TRAINER
    life = {"nbf": int(_NOW.timestamp())}
    assert _accepted(_made(claims=life), longest=61 * _MINUTE).spiffe_id == _TRAINER
    _refused(_made(claims=life), "lives longer", longest=59 * _MINUTE)


def test_1_4_9_there_is_no_iss() -> None:
    """Section 3.7: so no verifier of OpenID Connect can look up keys for it; one of others is ignored."""
    assert "iss" not in parts(_TOKEN)[1]
    assert _accepted(_made(claims={"iss": "https://example.com"})).spiffe_id == _TRAINER


@pytest.mark.parametrize("aud", ["db", ["db"], [], ""])
def test_1_4_10_aud_is_refused_and_unknown_claims_are_ignored(aud: object) -> None:
    """Section 3.8: whatever its form."""
    assert "aud" not in parts(_TOKEN)[1]
    _refused(_made(claims={"aud": aud}), "has an audience")
    assert _accepted(_made(claims={"x": {"y": 1}, "scope": "all"})).claims["scope"] == "all"


def test_1_4_11_it_is_no_bearer_token() -> None:
    """Section 5: the validators of bearer tokens refuse it, though they know its key."""
    bundle = _AUTHORITY.bundle(1)
    confused = SpiffeBundle(_TD, jwt_authorities={**bundle.jwt_authorities, **bundle.wit_authorities})
    with pytest.raises(RingfenceError, match="another type"):
        validate_jwt(_TOKEN, "db", {_TD: confused}, now=_NOW)


async def test_1_4_11_no_call_takes_it_for_a_bearer_token(tmp_path: Path) -> None:
    """What the agent itself gave out is no token for ValidateJWTSVID, the one call that judges tokens."""
    on = frozenset({"wit-svid"})
    async with (
        running_server(tmp_path, features=on) as server,
        running_agent(tmp_path, server, features=on) as agent,
        workload_client(agent.socket) as client,
    ):
        await server.create_entry(str(_TRAINER), OWN_UID)
        call = client.FetchWITSVID(workload.WITSVIDRequest(), metadata=HEADER)
        token = (await call.read()).svids[0].wit_svid
        call.cancel()
        asked = workload.ValidateJWTSVIDRequest(audience="db", svid=token)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.ValidateJWTSVID(asked, metadata=HEADER)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_1_4_12_keys_have_use_and_a_kid_of_their_own_in_the_whole_bundle() -> None:
    """Section 6.1: `wit-svid`, and no key serves two kinds of document."""
    authority = _with_wit()
    authority.prepare(_NOW)
    keys = json.loads(authority.bundle(1).to_json())["keys"]
    wits = [jwk for jwk in keys if jwk["use"] == "wit-svid"]
    assert len(wits) == 2
    assert all(jwk.keys() == {"kty", "crv", "x", "y", "use", "kid"} for jwk in wits)
    kids = [jwk["kid"] for jwk in keys if "kid" in jwk]
    assert len(kids) == len(set(kids)) == 4
    assert len({jwk["x"] for jwk in keys}) == 6


def test_1_4_12_a_kid_that_is_not_unique_names_no_wit_key() -> None:
    """Read from others: such a key, or a broken one, is left out alone, and everything else of the bundle stands."""
    whole = json.loads(_AUTHORITY.bundle(1).to_json())
    wit = next(jwk for jwk in whole["keys"] if jwk["use"] == "wit-svid")
    jwt = next(jwk for jwk in whole["keys"] if jwk["use"] == "jwt-svid")
    bad = [
        [{**wit, "kid": jwt["kid"]}],
        [wit, {**wit, "x": wit["y"]}],
        [{**wit, "kid": 5}],
        [{**wit, "kid": ""}],
        [{name: value for name, value in wit.items() if name != "kid"}],
        [{**wit, "kty": "OKP"}],
        [{**wit, "x": "AA"}],
    ]
    for wits in bad:
        keys = [jwk for jwk in whole["keys"] if jwk is not wit]
        found = SpiffeBundle.parse(_TD, json.dumps({**whole, "keys": [*wits, *keys]}).encode())
        assert found.wit_authorities == {}
        assert found.jwt_authorities == _AUTHORITY.bundle(1).jwt_authorities
        assert found.x509_authorities == _AUTHORITY.bundle(1).x509_authorities


def test_1_4_12_only_wit_keys_verify_a_wit_svid() -> None:
    """Section 6.2: no key for another use does, under whatever kid; and none of them verifies a JWT-SVID."""
    as_jwt = SpiffeBundle(_TD, jwt_authorities=_FOREIGN.wit_authorities)
    with pytest.raises(RingfenceError, match="no such WIT-SVID key"):
        validate_wit(_made(), {_TD: as_jwt}, now=_NOW)
    with pytest.raises(RingfenceError, match="no such JWT-SVID key"):
        validate_jwt(_made({"typ": "JWT"}, {"aud": ["db"]}), "db", {_TD: _FOREIGN}, now=_NOW)


def test_1_4_13_bundles_without_and_with_wit_keys_read_by_those_who_know_none() -> None:
    """N: JWT bundles hold none of them, and without the feature the bundle is byte for byte what it was."""
    bundle = _AUTHORITY.bundle(1)
    assert {jwk["use"] for jwk in json.loads(bundle.jwks())["keys"]} == {"jwt-svid"}
    assert {jwk["use"] for jwk in json.loads(bundle.wit_jwks())["keys"]} == {"wit-svid"}
    assert SpiffeBundle.parse(_TD, bundle.to_json()) == bundle
    before = json.loads(bundle.to_json())
    off = Authority.from_state(_AUTHORITY.to_state(), _AUTHORITY.keys)
    assert off.want_wit(_NOW, wanted=False)
    before["keys"] = [jwk for jwk in before["keys"] if jwk["use"] != "wit-svid"]
    assert json.loads(off.bundle(1).to_json()) == before
    assert "wit" not in off.bundle(1).to_json().decode()


def test_1_4_12_a_library_that_is_not_ours_verifies_it() -> None:
    """PyJWT, with the key that the WIT bundle publishes."""
    (jwk,) = json.loads(_AUTHORITY.bundle(1).wit_jwks())["keys"]
    key = pyjwt.PyJWK({name: value for name, value in jwk.items() if name != "use"}, algorithm="ES256")
    claims = pyjwt.decode(_TOKEN, key, algorithms=["ES256"], options={"require": ["exp", "sub", "cnf"]})
    assert claims["sub"] == str(_TRAINER)
    assert pyjwt.get_unverified_header(_TOKEN)["typ"] == wit_svid.TYPE
    confirmed = pyjwt.PyJWK(claims["cnf"]["jwk"])
    assert confirmed.algorithm_name == "ES256"
    assert confirmed.key == _WORKLOAD.public_key()


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_no_text_breaks_the_validator(text: str) -> None:
    """Anything is a token or UNAUTHENTICATED, alone and in the place of any part of a good one."""
    good = _made().split(".")
    for token in (text, *(".".join((*good[:at], text, *good[at + 1 :])) for at in range(3))):
        if token != ".".join(good):
            _refused(token, ".")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["jwk", "alg", "kty", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["cnf", "exp", "nbf", "iat", "aud", "sub", "jti"]), _JSON, min_size=1))
def test_no_signed_claims_break_the_validator(claims: dict[str, Any]) -> None:
    """A trusted issuer may still sign nonsense: a Wit or UNAUTHENTICATED."""
    try:
        found = _accepted(_made(claims=claims))
    except RingfenceError as error:
        kind = error.kind
        assert kind is Kind.UNAUTHENTICATED
    else:
        assert found.spiffe_id == _TRAINER
