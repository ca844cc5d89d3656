"""Tokens of end users in rules: what is asked, who issues, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.jwks import check_jwks
from ringfence.policy.load import Loaded
from ringfence.policy.tokens import ClaimMatch, TokenMatch
from tests.policy.intent import HUB, MESH, NOW, PULL, REGISTRY, TRAINER, codes, load, model_of


def b64(number: int, size: int) -> str:
    """A number as key sets have it (RFC 7518 section 2)."""
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def ec_key(**more: Any) -> dict[str, Any]:
    """A public key on P-256."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": "1", "x": b64(point.x, 32), "y": b64(point.y, 32), **more}


def rsa_key(bits: int) -> dict[str, Any]:
    """A public RSA key."""
    public = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return {"kty": "RSA", "kid": "2", "e": "AQAB", "n": b64(public.n, bits // 8)}


KEY = ec_key()
ISSUER = f"""
kind: TokenIssuer
metadata: {{name: corp, namespace: team-a}}
spec:
  issuer: https://corp.example
  audiences: [models, models-staging]
  jwks: '{json.dumps({"keys": [KEY]})}'
"""
JWT = "  jwt: {issuer: corp, claims: {groups: [ml, ops]}}\n"


def with_jwt(jwt: str = JWT, rule: str = PULL) -> str:
    """The rule with a token."""
    return rule.replace("  owner:", f"{jwt}  owner:")


def loaded(*documents: str) -> Loaded:
    """Beside the usual ones."""
    return load(MESH, TRAINER, REGISTRY, *documents)


def allowed(kind: str, claims: dict[str, Any] | None, issuer: str = "team-a/corp") -> bool:
    """Whether a request is let in that shows a token with these claims, or none."""
    everything = PULL.replace("name: pull", "name: everything")
    rules = [with_jwt()] if kind == "Allow" else [everything, with_jwt(rule=PULL.replace("Allow", "Deny"))]
    model = model_of(MESH, TRAINER, REGISTRY, ISSUER, *rules)
    source = model.workloads["team-a/trainer"].spiffe_id
    tokens = {issuer: claims} if claims is not None else {}
    call = ("shared/registry", "http", NOW, "GET", "/models/team-a/x")
    return evaluate(model, Request(source, *call, tokens=tokens)).allowed


@pytest.mark.parametrize(
    ("claims", "allow", "deny"),
    [
        (None, False, True),
        ({}, False, False),
        ({"groups": ["ml"]}, True, True),
        ({"groups": "ops"}, True, True),
        ({"groups": ["x"]}, False, False),
        ({"groups": "ml ops"}, False, False),
        ({"groups": None}, False, False),
        ({"groups": 1}, False, False),
    ],
)
def test_an_allow_wants_a_token_and_a_deny_holds_without_one(
    claims: dict[str, Any] | None,
    allow: bool,  # noqa: FBT001
    deny: bool,  # noqa: FBT001
):
    """Leaving a token out is no way around a Deny."""
    assert allowed("Allow", claims) is allow
    assert allowed("Deny", claims) is not deny


def test_a_token_of_another_issuer_is_none():
    """Whatever it says."""
    assert not allowed("Allow", {"groups": ["ml"]}, "team-b/corp")
    assert not allowed("Deny", {"groups": ["x"]}, "team-b/corp")


@given(
    st.dictionaries(st.sampled_from(["a", "scope"]), st.lists(st.sampled_from("xyz"), max_size=2) | st.text("xyz ")),
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=2, unique=True),
    st.sampled_from(["a", "scope"]),
)
def test_with_a_token_allow_and_deny_mean_the_same(claims: dict[str, Any], values: list[str], name: str):
    """They differ only where there is none."""
    match = TokenMatch("t/i", (ClaimMatch(name, tuple(values)),))
    assert match.allows({"t/i": claims}) == match.denies({"t/i": claims})
    assert not match.allows({})
    assert match.denies({})


@pytest.mark.parametrize(
    ("documents", "code"),
    [
        ((with_jwt(),), "RF1202"),
        ((ISSUER, with_jwt("  jwt: {issuer: corp, namespace: team-b}\n")), "RF1202"),
        ((ISSUER, with_jwt("  jwt: {}\n")), "RF1103"),
        ((ISSUER, with_jwt("  jwt: {issuer: corp, claims: {}}\n")), "RF1104"),
        ((ISSUER, with_jwt("  jwt: {issuer: corp, claims: {groups: []}}\n")), "RF1104"),
        ((ISSUER, with_jwt("  jwt: {issuer: corp, claims: {groups: ml}}\n")), "RF1104"),
        ((ISSUER, with_jwt("  jwt: {issuer: corp, claims: {level: [1]}}\n")), "RF1104"),
        ((ISSUER, ISSUER, PULL), "RF1201"),
        ((ISSUER.replace("audiences: [models, models-staging]\n", "audiences: []\n"), PULL), "RF1104"),
        ((ISSUER.replace("  audiences: [models, models-staging]\n", ""), PULL), "RF1103"),
        ((ISSUER.replace('{"keys"', '{"kez"'), PULL), "RF1110"),
        ((ISSUER, PULL.replace("port: http", "port: db").replace("  http:", "  # http:"), "RF"), "RF1205"),
    ],
)
def test_what_could_be_misread_is_an_error(documents: tuple[str, ...], code: str):
    """Nothing is left out of an Allow in silence."""
    documents = tuple(d for d in documents if d != "RF")
    if code == "RF1205":
        documents = (documents[0], with_jwt(rule=documents[1]))
    found = loaded(*documents)
    assert found.model is None
    assert code in codes(found)


def test_a_token_is_not_asked_for_towards_a_host_outside():
    """It is that host's to judge, and our proxy need not see it."""
    rule = PULL.replace("{workload: registry, namespace: shared, port: http}", "{external: hub, namespace: shared}")
    found = load(MESH, TRAINER, REGISTRY, HUB, ISSUER, with_jwt(rule=rule))
    assert found.model is None
    assert "RF1213" in codes(found)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ([], "at least one key"),
        (["x"], "no object"),
        ([ec_key(d="AQ")], "d is secret"),
        ([{"kty": "oct", "k": "c2VjcmV0"}], "k is secret"),
        ([{"kty": "oct"}], "none of RSA, EC and OKP"),
        ([ec_key(use="enc")], "not for signatures"),
        ([ec_key(crv="secp256k1")], "its curve"),
        ([ec_key(x="AQ")], "key 1 of it"),
        ([{"kty": "EC", "crv": "P-256", "x": "AQ"}], "y is missing"),
        ([ec_key(x=7)], "no text"),
        ([rsa_key(1024)], "fewer than 2048"),
        ([{"kty": "OKP", "crv": "Ed25519", "x": "AQ"}], "key 1 of it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # keys are others in each process of tests
)
def test_a_key_that_verifies_nothing_or_signs_is_refused(keys: list[Any], says: str):
    """With which one it is, and why; a proxy would refuse its whole configuration, or trust everybody."""
    with pytest.raises(ValueError, match=says):
        check_jwks(json.dumps({"keys": keys}))


def test_a_key_set_has_one_spelling():
    """Order and blanks of the text change nothing at the proxies; what stands beside the keys is left out."""
    keys = [KEY, rsa_key(2048)]
    one = check_jwks(json.dumps({"keys": keys, "next": "x"}, indent=2))
    assert one == check_jwks(json.dumps({"keys": [dict(reversed(list(key.items()))) for key in keys]}))
    with pytest.raises(ValueError, match="not JSON"):
        check_jwks("keys")


def test_tokens_are_in_the_hash_and_their_keys_are_not():
    """Another issuer or claim is another rule; new keys of the same issuer are not, but another revision."""
    rules = [PULL, with_jwt(), with_jwt("  jwt: {issuer: corp}\n"), with_jwt(JWT.replace("ml, ops", "ml"))]
    rules.append(with_jwt(JWT.replace("groups", "sub")))
    models = [model_of(MESH, TRAINER, REGISTRY, ISSUER, rule) for rule in rules]
    assert len({model.rules[0].hash for model in models}) == len(rules)
    other = ISSUER.replace(json.dumps(KEY), json.dumps(ec_key()))
    changed = model_of(MESH, TRAINER, REGISTRY, other, with_jwt())
    assert changed.rules[0].hash == models[1].rules[0].hash
    assert changed.revision != models[1].revision
