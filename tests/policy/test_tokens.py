"""Tokens of end users in rules: what is asked, who issues, and what is refused."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.fields import HTTPS_URI
from ringfence.policy.jwks import check_jwks, usable_keys
from ringfence.policy.load import Loaded, load_documents
from ringfence.policy.token_rules import with_keys
from ringfence.policy.tokens import ClaimMatch, KeySource, TokenMatch
from tests.policy.intent import HUB, MESH, NOW, PULL, REGISTRY, TRAINER, codes, joined, load, model_of


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


FILE = ISSUER[: ISSUER.index("  jwks:")] + "  jwksFile: keys/corp.jwks\n"
URI = ISSUER[: ISSUER.index("  jwks:")] + "  jwksUri: https://login.corp.example/keys?v=1\n"


def from_file(text: str | bytes | None) -> Loaded:
    """An issuer whose keys are in a file beside its document."""
    given = [("intent/keys/corp.jwks", text)] if text is not None else []
    return load_documents([("intent/a.yaml", joined(MESH, FILE)), *given])


def test_keys_are_read_from_a_file_beside_the_document():
    """They are part of what is meant: the same text within the document is the same issuer and the same revision."""
    found, inline = from_file(json.dumps({"keys": [KEY]})).model, load(MESH, ISSUER).model
    assert found is not None
    assert inline is not None
    assert found.issuers == inline.issuers
    assert found.revision == inline.revision
    other = from_file(json.dumps({"keys": [ec_key()]})).model
    assert other is not None
    assert other.revision != found.revision


@pytest.mark.parametrize("text", [None, "", "words", '{"keys": []}', b"\xff"])
def test_a_file_of_keys_that_cannot_be_used_is_an_error(text: str | bytes | None):
    """Nothing is put in force with an issuer of whom nobody knows the keys by mistake."""
    assert codes(from_file(text)) == ["RF1110"]


def test_keys_may_be_fetched_from_a_url():
    """They are no part of the intent: a new key changes no revision. A day is how long the last ones hold."""
    model = model_of(MESH, URI)
    issuer = model.issuers["team-a/corp"]
    assert (issuer.jwks, issuer.source) == ("", KeySource("https://login.corp.example/keys?v=1", "", timedelta(days=1)))
    keys = json.dumps({"keys": [KEY]})
    assert with_keys(model, {"team-a/corp": keys}).issuers["team-a/corp"].jwks == keys
    assert with_keys(model, {"team-a/corp": keys}).revision == model.revision
    assert with_keys(with_keys(model, {"team-a/corp": keys}), {}).issuers["team-a/corp"].jwks == ""
    written = model_of(MESH, ISSUER)
    assert with_keys(written, {"team-a/corp": "other"}) is written


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("https://", "http://", "RF1105"),
        ("https://", "file://", "RF1105"),
        ("https://login.corp.example", "https://user:pass@login.corp.example", "RF1105"),
        ("login.corp.example/keys", "login.corp.example:70000/keys", "RF1105"),
        ("login.corp.example/keys", "login.corp.example:0x50/keys", "RF1105"),
        ("login.corp.example/keys", "0xa9fea9fe/keys", "RF1105"),
        ("login.corp.example/keys", "LOGIN.corp.example/keys", "RF1105"),
        ("login.corp.example/keys", "*.corp.example/keys", "RF1105"),
        ("keys?v=1", "keys#v", "RF1105"),
        ("keys?v=1", "keys v", "RF1105"),
        ("login.corp.example/keys", "169.254.169.254/keys", "RF1111"),
        ("'https://login.corp.example/keys?v=1'", "'https://[fd00:ec2::254]/keys'", "RF1111"),
        ("login.corp.example/keys", "metadata.google.internal/keys", "RF1111"),
        ("\n  jwksUri", "\n  jwksMaxAge: 8d\n  jwksUri", "RF1108"),
        ("\n  jwksUri", "\n  ca: x\n  jwksUri", "RF1109"),
        ("\n  jwksUri", "\n  ca: x\n  caFile: y.pem\n  jwksUri", "RF1109"),
        ("\n  jwksUri", "\n  jwksFile: x.jwks\n  jwksUri", "RF1104"),
    ],
)
def test_a_url_that_is_not_safe_to_ask_is_refused(old: str, new: str, code: str):
    """Only HTTPS, to a host that has one reading, and to no metadata service."""
    text = URI.replace("https://login.corp.example/keys?v=1", "'https://login.corp.example/keys?v=1'")
    assert old in text
    assert codes(load(MESH, text.replace(old, new))) == [code]


@pytest.mark.parametrize("source", ["", "  jwksMaxAge: 1h\n", "  ca: x\n"])
def test_an_issuer_has_its_keys_from_one_place(source: str):
    """And what is said of keys that are fetched is an error of others."""
    none = ISSUER[: ISSUER.index("  jwks:")]
    assert codes(load(MESH, (none if not source else ISSUER) + source)) == ["RF1104"]


@given(st.text(max_size=40))
def test_no_text_behind_a_host_makes_another_host_of_it(text: str):
    """Whatever is taken leads to the host that stands in front."""
    if re.fullmatch(HTTPS_URI, f"https://login.corp.example/{text}"):
        assert urlsplit(f"https://login.corp.example/{text}").hostname == "login.corp.example"
    if re.fullmatch(HTTPS_URI, f"https://login.corp.example{text}"):
        assert (urlsplit(f"https://login.corp.example{text}").hostname or "").startswith("login.corp.example")


def test_of_a_set_of_others_the_keys_that_can_be_used_are_taken():
    """And one with none is refused: an answer that is an error page is no end of keys."""
    good = ec_key()
    mixed = json.dumps({"keys": [{"kty": "new"}, {**ec_key(), "use": "enc"}, {**ec_key(), "d": "x"}, good]})
    assert json.loads(usable_keys(mixed)) == {"keys": [good]}
    for none in ('{"keys": [{"kty": "new"}]}', '{"keys": []}', "x"):
        with pytest.raises(ValueError, match=r"[a-z]"):
            usable_keys(none)
