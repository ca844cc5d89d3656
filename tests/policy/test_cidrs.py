"""Addresses narrow who may call and are nobody's identity."""

from __future__ import annotations

import pytest

from ringfence.policy.evaluate import Request, evaluate
from tests.policy.intent import HUB, MESH, NOW, PULL, REGISTRY, TRAINER, codes, load, model_of

NARROWED = "{workload: trainer, cidrs: [10.0.0.0/8, 'fd00::/8']}"


def rule(source: str = NARROWED, kind: str = "Allow", name: str = "pull") -> str:
    """The usual rule, for these callers."""
    text = PULL.replace("{workload: trainer}", source).replace("kind: Allow", f"kind: {kind}")
    return text.replace("name: pull", f"name: {name}")


@pytest.mark.parametrize(
    ("address", "allow", "deny"),
    [
        ("10.1.2.3", True, True),
        ("fd00::1", True, True),
        ("11.1.2.3", False, False),
        ("127.0.0.1", False, False),
        ("::ffff:10.1.2.3", False, False),
        ("", False, True),
    ],
)
def test_a_rule_holds_where_the_call_comes_from_there(address: str, allow: bool, deny: bool):  # noqa: FBT001
    """Where that is not known an Allow does not hold, and a Deny does."""

    def allowed(*rules: str) -> bool:
        model = model_of(MESH, TRAINER, REGISTRY, *rules)
        source = model.workloads["team-a/trainer"].spiffe_id
        call = ("shared/registry", "http", NOW, "GET", "/models/team-a/x")
        return evaluate(model, Request(source, *call, address=address)).allowed

    assert allowed(rule()) is allow
    assert allowed(PULL, rule(kind="Deny", name="not-there")) is not deny


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{cidrs: [10.0.0.0/8]}", "RF1104"),
        ("{workload: trainer, cidrs: []}", "RF1104"),
        ("{workload: trainer, cidrs: [10.0.0.1/8]}", "RF1104"),
        ("{workload: trainer, cidrs: [ten]}", "RF1104"),
    ],
)
def test_an_address_alone_is_refused(source: str, code: str):
    """Whoever has an address may have taken it; a range has one spelling."""
    loaded = load(MESH, TRAINER, REGISTRY, rule(source))
    assert loaded.model is None
    assert codes(loaded) == [code]


def test_calls_outside_come_from_nowhere_else():
    """Their judge is the caller's own proxy."""
    outside = rule().replace(
        "{workload: registry, namespace: shared, port: http}", "{external: hub, namespace: shared}"
    )
    loaded = load(MESH, TRAINER, REGISTRY, HUB, outside)
    assert loaded.model is None
    assert "RF1214" in codes(loaded)


def test_addresses_are_in_the_hash_in_any_order():
    """Another range is another rule."""
    sources = [NARROWED, "{workload: trainer}", "{workload: trainer, cidrs: [10.0.0.0/8]}"]
    hashes = [model_of(MESH, TRAINER, REGISTRY, rule(source)).rules[0].hash for source in sources]
    assert len(set(hashes)) == len(hashes)
    turned = "{workload: trainer, cidrs: ['fd00::/8', 10.0.0.0/8, 10.0.0.0/8]}"
    assert model_of(MESH, TRAINER, REGISTRY, rule(turned)).rules[0].hash == hashes[0]
