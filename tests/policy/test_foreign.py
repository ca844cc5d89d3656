"""Callers of other trust domains: who is meant, what is noted, and whose bundles a proxy needs for them."""

from __future__ import annotations

import pytest

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.entries import entries_of
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, codes, joined, load, model_of

PARTNER = TrustDomain("partner.example")
CALLER = SpiffeId(PARTNER, "/ns/x/sa/y")
EVERYBODY = "{trustDomain: partner.example}"
ONE = '{id: "spiffe://partner.example/ns/x/sa/y"}'


def rule(source: str, kind: str = "Allow", name: str = "partner") -> str:
    """A rule of team-a for callers of the partner."""
    return (
        PULL.replace("{workload: trainer}", source)
        .replace("kind: Allow", f"kind: {kind}")
        .replace("name: pull", f"name: {name}")
    )


def allowed(model: Model, source: SpiffeId, path: str = "/models/team-a/x") -> bool:
    """Whether that caller's request is let in."""
    return evaluate(model, Request(source, "shared/registry", "http", NOW, "GET", path)).allowed


@pytest.mark.parametrize(
    ("source", "caller", "let_in"),
    [
        (EVERYBODY, CALLER, True),
        (EVERYBODY, SpiffeId(PARTNER, "/any/path"), True),
        (EVERYBODY, SpiffeId(TrustDomain("partner.example.evil"), CALLER.path), False),
        (EVERYBODY, SpiffeId(TrustDomain("partner"), CALLER.path), False),
        (EVERYBODY, SpiffeId(TrustDomain("example.test"), CALLER.path), False),
        (ONE, CALLER, True),
        (ONE, SpiffeId(PARTNER, "/ns/x/sa/yy"), False),
        (ONE, SpiffeId(TrustDomain("example.test"), CALLER.path), False),
        ("{all: true}", CALLER, False),
        ("{namespace: shared}", SpiffeId(PARTNER, "/ns/shared/sa/y"), False),
    ],
)
def test_a_rule_means_the_callers_that_it_names(source: str, caller: SpiffeId, let_in: bool):  # noqa: FBT001
    """Exactly one identity, or everybody of exactly one trust domain; `all` means the mesh."""
    model = model_of(MESH, TRAINER, REGISTRY, rule(source))
    assert allowed(model, caller) is let_in
    assert not allowed(model, caller, "/other")


def test_a_deny_holds_off_one_caller_of_a_partner():
    """A Deny wins over an Allow for the whole trust domain."""
    model = model_of(MESH, TRAINER, REGISTRY, rule(EVERYBODY), rule(ONE, "Deny", "not-y"))
    assert not allowed(model, CALLER)
    assert allowed(model, SpiffeId(PARTNER, "/ns/x/sa/z"))


@pytest.mark.parametrize(
    "source", ["{trustDomain: example.test}", '{id: "spiffe://example.test/ns/team-a/sa/trainer"}']
)
def test_our_own_are_named_by_what_declares_them(source: str):
    """A name that nobody has would else be no error."""
    assert codes(load(MESH, TRAINER, REGISTRY, rule(source))) == ["RF1212"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{trustDomain: partner.example, namespace: x}", "RF1104"),
        ("{trustDomain: partner.example, id: 'spiffe://partner.example/x'}", "RF1104"),
        ("{trustDomain: PARTNER}", "RF1105"),
        ("{id: 'spiffe://partner.example'}", "RF1105"),
        ("{id: 'spiffe://partner.example/a//b'}", "RF1105"),
        ("{id: 'https://partner.example/a'}", "RF1105"),
    ],
)
def test_what_is_no_name_of_a_caller_is_refused(source: str, code: str):
    """One form, and a whole SPIFFE ID."""
    loaded = load(MESH, TRAINER, REGISTRY, rule(source))
    assert loaded.model is None
    assert code in codes(loaded)


@pytest.mark.parametrize("known", [frozenset({PARTNER}), frozenset(), None])
def test_a_rule_for_whom_there_is_no_bundle_is_a_warning(known: frozenset[TrustDomain] | None):
    """Nobody of them would get past the handshake; offline nobody knows."""
    texts = [("i.yaml", joined(MESH, TRAINER, REGISTRY, PULL, rule(EVERYBODY)))]
    found = load_documents(texts, now=NOW, federated=known)
    assert found.model is not None
    assert codes(found) == (["RF1305"] if known == frozenset() else [])


def test_whoever_is_called_by_a_partner_is_given_its_bundle():
    """And nobody else: a bundle is trust."""
    drafts = entries_of(model_of(MESH, TRAINER, REGISTRY, PULL, rule(EVERYBODY)))
    assert {draft.origin: draft.federates_with for draft in drafts} == {
        "shared/registry": (PARTNER,),
        "team-a/trainer": (),
    }


def test_who_is_meant_is_in_the_hash():
    """Each of these is another rule."""
    hashes = {
        model_of(MESH, TRAINER, REGISTRY, rule(source)).rules[0].hash
        for source in (EVERYBODY, ONE, "{all: true}", "{trustDomain: partner.test}", "{workload: trainer}")
    }
    assert len(hashes) == 5
