"""A real Envoy verifies end users' tokens beside the caller's identity: forged or expired ones allow nothing."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import Model
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.registry import Bench, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

ISSUER = """
kind: TokenIssuer
metadata: {{name: {name}, namespace: shared}}
spec:
  issuer: https://{name}.example
  audiences: [models]
  jwks: '{jwks}'
"""
RULE = """
kind: {kind}
metadata: {{name: {name}, namespace: shared}}
spec:
  from: [{{namespace: team-a}}]
  to: [{{workload: registry, port: http}}]
  http: [{{paths: ["/{path}"]}}]
{jwt}  owner: ml
  reason: tokens
"""
CORP = "  jwt: {issuer: corp, claims: {groups: [ml, ops]}}\n"
RULES = (
    ("Allow", "any", "any", "  jwt: {issuer: corp}\n"),
    ("Allow", "groups", "groups", CORP),
    ("Allow", "both", "both", "  jwt: {issuer: corp, claims: {groups: [ml], sub: [alice]}}\n"),
    ("Allow", "scope", "scope", "  jwt: {issuer: corp, claims: {scope: [models.read]}}\n"),
    ("Allow", "lab", "lab", "  jwt: {issuer: lab}\n"),
    ("Allow", "all", "not-ops", ""),
    ("Deny", "not-ops", "not-ops", "  jwt: {issuer: corp, claims: {groups: [ops]}}\n"),
)
PATHS = tuple(dict.fromkeys(f"/{path}" for _, _, path, _ in RULES))
KEYS = {"corp": ECKey.generate_key("P-256", {"kid": "c1"}), "lab": RSAKey.generate_key(2048, {"kid": "l1"})}
STRANGER = ECKey.generate_key("P-256", {"kid": "c1"})


def text_of(keys: dict[str, Any]) -> str:
    """The rules, and issuers with these keys."""
    issuers = [
        ISSUER.format(name=name, jwks=json.dumps({"keys": [key.as_dict(private=False)]})) for name, key in keys.items()
    ]
    return "---".join([*issuers, *(RULE.format(kind=k, name=n, path=p, jwt=t) for k, n, p, t in RULES)])


def claims(**more: Any) -> dict[str, Any]:
    """What a good token of corp says."""
    now = int(time.time())
    return {"iss": "https://corp.example", "aud": "models", "sub": "alice", "iat": now, "exp": now + 300, **more}


def token(said: dict[str, Any], key: Any = None, alg: str = "ES256") -> str:
    """Signed by corp's key, or by another."""
    key = key or KEYS["corp"]
    return str(jwt.encode({"alg": alg, "kid": key.kid or "c1"}, said, key, algorithms=[alg]))


def unsigned(said: dict[str, Any]) -> str:
    """With the algorithm `none`."""
    good = token(said).split(".")
    return f"eyJhbGciOiJub25lIn0.{good[1]}."


def by_secret(said: dict[str, Any], secret: bytes) -> str:
    """With HMAC, and what everybody knows as the secret (RFC 8725 section 2.1)."""
    head = b64(json.dumps({"alg": "HS256", "kid": "c1"}).encode())
    body = f"{head}.{b64(json.dumps(said).encode())}"
    return f"{body}.{b64(hmac.digest(secret, body.encode(), 'sha256'))}"


def b64(data: bytes) -> str:
    """As tokens are written (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


@pytest.fixture
def model(bench: Bench) -> Model:
    """The rules, in force."""
    model = bench.apply(text_of(KEYS))
    until(lambda: ask(bench, "/any", token(claims())) == 200, "the rules")
    return model


def ask(bench: Bench, path: str, *shown: str, key: str = "team-a/trainer", header: str = "authorization") -> int:
    """What a GET with these tokens, a header line each, is answered with."""
    return ask_with(bench, path, [(header, f"Bearer {one}") for one in shown], key)


def ask_with(bench: Bench, path: str, lines: Sequence[tuple[str, str]], key: str = "team-a/trainer") -> int:
    """The same with header lines as they are."""
    with Caller(bench.http, bench.tls(key)) as caller:
        return caller.ask_raw("GET", path, [(name, value.encode()) for name, value in lines]).status


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"groups": ["ml"]},
        {"groups": ["x", "ops"]},
        {"groups": "ml"},
        {"groups": "ml ops"},
        {"groups": ["x"]},
        {"groups": []},
        {"groups": 7},
        {"groups": {"ml": True}},
        {"groups": [["ml"]]},
        {"groups": ["ml"], "sub": "bob"},
        {"scope": "models.read models.write"},
        {"scope": "models.readx"},
        {"scope": ["models.read"]},
    ],
    ids=repr,
)
def test_claims_are_read_as_the_evaluator_reads_them(bench: Bench, model: Model, said: dict[str, Any]):
    """Exact values and membership of lists, and nothing else."""
    good = claims(**said)
    source = model.workloads["team-a/trainer"].spiffe_id
    for path in PATHS:
        request = Request(
            source, "shared/registry", "http", datetime.now(UTC), "GET", path, tokens={"shared/corp": good}
        )
        expected = 200 if evaluate(model, request).allowed else 403
        assert ask(bench, path, token(good)) == expected, path
    assert bench.plane.nacks == []


def test_what_is_not_a_valid_token_of_the_issuer_is_none(bench: Bench, model: Model):
    """It satisfies no Allow, and a Deny holds for whoever shows none: leaving it out is no way around."""
    good, now = claims(groups=["ml"]), int(time.time())
    bad = {
        "forged": token(good, STRANGER),
        "expired": token(good | {"exp": now - 60}),
        "without an end": token({name: value for name, value in good.items() if name != "exp"}),
        "not yet valid": token(good | {"nbf": now + 300}),
        "for another audience": token(good | {"aud": "mail"}),
        "for no audience": token({name: value for name, value in good.items() if name != "aud"}),
        "of another issuer": token(good | {"iss": "https://evil.example"}),
        "of another issuer, by its key": token(good, KEYS["lab"], "RS256"),
        "unsigned": unsigned(good),
        "signed with the public key as a secret": by_secret(good, KEYS["corp"].as_pem(private=False)),
        "changed": token(good)[:-6] + "AAAAAA",
        "no token": "x.y.z",
    }
    for what, shown in bad.items():
        assert [ask(bench, path, shown) for path in PATHS] == [403] * len(PATHS), what
    source = model.workloads["team-a/trainer"].spiffe_id
    for path in PATHS:
        request = Request(source, "shared/registry", "http", datetime.now(UTC), "GET", path)
        assert not evaluate(model, request).allowed
        assert ask(bench, path) == 403, path


def test_a_token_stands_beside_an_identity_and_not_in_its_place(bench: Bench, model: Model):
    """A stolen token is of no use to a workload that no rule names."""
    good = token(claims(groups=["ml"]))
    assert ask(bench, "/any", good) == 200
    assert ask(bench, "/any", good, key="team-b/notebook") == 403


def test_a_token_is_shown_in_one_place_only(bench: Bench, model: Model):
    """Of two an application may take the other one; and what is in the query or another header is not shown."""
    good, forged = token(claims(groups=["ml"])), token(claims(groups=["ml"]), STRANGER)
    assert ask(bench, "/groups", good, forged) == ask(bench, "/groups", forged, good) == 403
    assert ask(bench, "/groups", good, good) == 403
    assert ask(bench, "/not-ops", good) == 200
    assert ask(bench, "/not-ops", good, forged) == 403
    assert ask(bench, f"/groups?access_token={good}") == 403
    assert ask(bench, "/groups", good, header="x-jwt-assertion") == 403
    assert ask_with(bench, "/groups", [("authorization", f"bearer {good}")]) == 403
    assert ask_with(bench, "/groups", [("authorization", f"Basic {good}")]) == 403


def test_issuers_are_told_apart(bench: Bench, model: Model):
    """A good token of one says nothing to a rule that asks for another's."""
    lab = token(claims(iss="https://lab.example", groups=["ml"]), KEYS["lab"], "RS256")
    assert [ask(bench, path, lab) for path in ("/lab", "/any", "/groups")] == [200, 403, 403]
    assert ask(bench, "/lab", token(claims())) == 403


def test_an_issuers_new_key_counts_on_an_open_connection(bench: Bench, model: Model):
    """And the old one no more: keys come by ECDS, and drain nothing."""
    fresh = ECKey.generate_key("P-256", {"kid": "c1"})
    with Caller(bench.http, bench.tls("team-a/trainer")) as caller:

        def status(key: Any) -> int:
            shown = f"Bearer {token(claims(), key)}".encode()
            return caller.ask_raw("GET", "/any", [("authorization", shown)]).status

        assert status(KEYS["corp"]) == 200
        bench.apply(text_of(KEYS | {"corp": fresh}))
        until(lambda: status(fresh) == 200, "the new key")
        assert status(KEYS["corp"]) == 403
