"""Scopes: a workload's part of the model is enough to compile it, and differs only when its meaning does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.fleet.scope import Scopes
from ringfence.policy.model import Model, Rule
from ringfence.policy.scope import upstreams_of
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from tests.broker.fleet.world import MESH, NOW, PULL, model
from tests.policy import plain, test_tokens

WIDE = """
---
kind: Allow
metadata: {name: wide, namespace: team-a}
spec: {from: [{namespace: team-a}], to: [{workload: registry, namespace: shared, port: http}], owner: o, reason: r}
"""
DENY = """
---
kind: Deny
metadata: {name: no-notebook, namespace: team-b}
spec: {from: [{workload: notebook}], to: [{workload: registry, namespace: shared, port: http}], owner: o, reason: r}
"""
HUB = """
---
kind: External
metadata: {name: hub, namespace: shared}
spec: {host: hub.example, ports: [{name: https, port: 443, protocol: http}]}
---
kind: Allow
metadata: {name: hub, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{external: hub, namespace: shared, port: https}], owner: o, reason: r}
"""
FOREIGN = """
---
kind: Allow
metadata: {name: partner, namespace: shared}
spec: {from: [{trustDomain: p.example}], to: [{workload: registry, namespace: shared, port: http}], owner: o, reason: r}
"""
LIMITS = """
---
kind: Traffic
metadata: {name: quota, namespace: shared}
spec: {to: {workload: registry, port: http}, timeout: 5s, rateLimits: [{requests: 5, per: 1s}]}
"""
STAR = """
---
kind: External
metadata: {name: star, namespace: shared}
spec: {host: "*.b.example", dynamic: {labels: many}, ports: [{name: https, port: 443, protocol: http}]}
---
kind: Allow
metadata: {name: star, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{external: star, namespace: shared}], owner: o, reason: r}
"""
BELOW = """
---
kind: External
metadata: {name: below, namespace: shared}
spec: {host: a.b.example, ports: [{name: https, port: 443, protocol: http}]}
"""
PARTS = (PULL, WIDE, DENY, HUB, FOREIGN, LIMITS, STAR, BELOW)
KEYS = ("team-a/trainer", "team-b/notebook", "shared/registry")
INSTANCE = Instance(
    "n1",
    {"http": ("127.0.0.1", 1)},
    {
        "registry.shared/http": ("127.0.0.1", 2),
        "hub.shared/https": ("127.0.0.1", 3),
        "star.shared/https": ("127.0.0.1", 5),
    },
    ("127.0.0.1", 4),
)
TEXTS = st.lists(st.sampled_from(PARTS), unique=True).map(lambda chosen: MESH + "".join(chosen))


def compiled(whole: Model, key: str) -> Any:
    """What the real compiler makes of a workload."""
    return compile_snapshot(whole, whole.workloads[key], INSTANCE, {}, now=NOW).resources


def rules_into(model: Model, key: str) -> tuple[Rule, ...]:
    """Every rule that names a port of that workload."""
    return tuple(rule for rule in model.rules if any(d.key == key for d in rule.destinations))


@given(TEXTS, st.sampled_from(KEYS))
def test_the_part_compiles_to_what_the_whole_compiles_to(text: str, key: str) -> None:
    """So a proxy may be compiled from its scope, and whatever is left out of it cannot matter."""
    whole = model(text)
    scope = Scopes(whole, NOW).of(key)

    assert scope is not None
    assert compiled(scope.model, key) == compiled(whole, key)
    assert scope.upstreams == upstreams_of(whole, whole.workloads[key])
    assert rules_into(scope.model, key) == rules_into(whole, key)


@given(TEXTS, TEXTS, st.sampled_from(KEYS))
def test_equal_scopes_compile_equally(one: str, other: str, key: str) -> None:
    """A proxy that is not touched would have got the same again."""
    models = model(one), model(other)
    scopes = [Scopes(m, NOW).of(key) for m in models]

    if scopes[0] == scopes[1]:
        assert compiled(models[0], key) == compiled(models[1], key)


def test_a_name_that_is_declared_below_a_star_touches_who_may_reach_the_star() -> None:
    """The star means it no longer; whoever has nothing to do with it is not touched."""
    one, other = Scopes(model(MESH + STAR), NOW), Scopes(model(MESH + STAR + BELOW), NOW)

    assert one.of("team-a/trainer") != other.of("team-a/trainer")
    assert one.of("team-b/notebook") == other.of("team-b/notebook")


def test_another_limit_touches_the_port_that_counts() -> None:
    """And whoever calls it, who holds the rest of the document; nobody else."""
    one, other = (
        Scopes(model(MESH + PULL + text), NOW) for text in (LIMITS, LIMITS.replace("requests: 5", "requests: 6"))
    )

    assert one.of("shared/registry") != other.of("shared/registry")
    assert one.of("team-b/notebook") == other.of("team-b/notebook")


def test_a_neighbours_rule_is_not_in_scope() -> None:
    """What a workload has no business with is left out, and so is whoever it concerns."""
    scope = Scopes(model(MESH + PULL + HUB), NOW).of("team-b/notebook")

    assert scope is not None
    assert not scope.model.rules
    assert list(scope.model.workloads) == ["team-b/notebook"]
    assert not scope.model.externals


def test_the_keys_of_an_issuer_touch_those_that_ask_for_its_tokens() -> None:
    """And no caller: tokens are verified where they are judged."""
    asked = MESH + PULL.replace("  owner:", "  jwt: {issuer: corp}\n  owner:")
    text = f"{asked}---{test_tokens.ISSUER}"
    one, other = (Scopes(model(each), NOW) for each in (text, text.replace("audiences: [models,", "audiences: [")))
    assert one.of("shared/registry") != other.of("shared/registry")
    assert one.of("team-a/trainer") == other.of("team-a/trainer")
    assert one.of("team-b/notebook") == other.of("team-b/notebook")


def test_a_rule_for_another_trust_domain_is_in_nobodys_way_out() -> None:
    """It is not one for the whole mesh: what only partners may call is no upstream of our workloads."""
    scopes = Scopes(model(MESH + FOREIGN), NOW)
    for key in ("team-a/trainer", "team-b/notebook"):
        scope = scopes.of(key)
        assert scope is not None
        assert (scope.model.rules, scope.upstreams) == ((), ())
    called = scopes.of("shared/registry")
    assert called is not None
    assert [rule.name for rule in called.model.rules] == ["partner"]


@pytest.mark.parametrize("key", ["team-a/trainer", "shared/registry"])
def test_an_expired_rule_makes_another_scope(key: str) -> None:
    """At both ends of it."""
    now = model(MESH + PULL.replace("owner: ml", 'owner: ml\n  expires: "2026-11-24T13:00:00Z"'))
    before, after = Scopes(now, NOW), Scopes(now, NOW + timedelta(hours=1))

    assert before.next_expiry() == NOW + timedelta(hours=1)
    assert after.next_expiry() is None
    assert before.of(key) != after.of(key)
    assert before.of("team-b/notebook") == after.of("team-b/notebook")


def test_plaintext_that_has_ended_makes_another_scope() -> None:
    """At its end, and not before, of the proxy at that port alone."""
    now = plain.model_of()
    end = datetime.fromisoformat(plain.UNTIL)
    first, before, after = (Scopes(now, at) for at in (NOW, end - timedelta(seconds=1), end))

    assert (first.next_expiry(), after.next_expiry()) == (end, None)
    assert first.of("shared/registry") == before.of("shared/registry") != after.of("shared/registry")
    assert before.of("team-a/trainer") == after.of("team-a/trainer")


def test_an_unknown_workload_has_no_scope() -> None:
    """Nor has an identity that none has."""
    scopes = Scopes(model(), NOW)

    assert scopes.of("team-a/nobody") is None
