"""What a proxy was sent before is taken again where it is the same, and never where it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.policy.model import Model
from ringfence.policy.revoked import with_revoked
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.made import Made
from ringfence.xds.types import EXTENSION_CONFIG, LISTENER
from tests.policy import test_tokens
from tests.policy.intent import MESH, NOW, PULL, REGISTRY, TRAINER, model_of

PLAINTEXT = "{until: 2026-11-24T13:00:00Z, owner: ml, reason: tests}"
TRAFFIC = """
kind: Traffic
metadata: {name: t, namespace: shared}
spec: {to: {workload: registry, port: http}, rateLimits: [{requests: N, per: 1s}]}
"""
DB = PULL.replace("name: pull", "name: db").replace("port: http", "port: db").replace("  http: ", "  # http: ")
SERVES = {"inbound": {"http": ("127.0.0.1", 1), "db": ("127.0.0.1", 2)}, "socket_dir": "/run/x"}
# What a port's listener is made of, and what rules are: each may be another one from one snapshot to the next.
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "serves": st.sampled_from(["", ", maxConnections: 9", f", plaintext: {PLAINTEXT}"]),
    "traffic": st.sampled_from(["", TRAFFIC.replace("N", "5"), TRAFFIC.replace("N", "7")]),
    "rule": st.sampled_from([PULL, PULL.replace("GET", "PUT"), test_tokens.with_jwt("  jwt: {issuer: corp}\n")]),
    "more": st.sampled_from(["", DB]),
    "revoked": st.sampled_from([(), ("spiffe://example.test/ns/team-a/sa/trainer",)]),
    "tainted": st.sampled_from([frozenset[str](), frozenset({"a"})]),
    "late": st.booleans(),
}


def model(serves: str, traffic: str, rule: str, more: str, revoked: tuple[str, ...], tainted: frozenset[str]) -> Model:
    """Of one such mesh."""
    registry = REGISTRY.replace("protocol: http", f"protocol: http{serves}")
    texts = (MESH, TRAINER, registry, traffic, rule, more, test_tokens.ISSUER)
    made = model_of(*(text for text in texts if text))
    out = Revocations.of((), [RevokedIdentity(name, 5, "left", "alice") for name in revoked])
    return replace(with_revoked(made, out), tainted=tainted)


@given(st.lists(st.fixed_dictionaries(PARTS), min_size=2, max_size=4))
def test_the_next_snapshot_is_what_a_new_proxy_would_get(steps: list[dict[str, Any]]):
    """Whatever changed in between, byte for byte."""
    known = Instance("n", **SERVES)
    for step in steps:
        now = NOW + timedelta(hours=2) if step.pop("late") else NOW
        held = model(**step)
        for_it, for_a_new_one = (
            compile_snapshot(held, held.workloads["shared/registry"], instance, {}, now=now)
            for instance in (known, Instance("n", **SERVES))
        )
        assert for_it == for_a_new_one


def test_a_change_of_rules_makes_no_listener_of_requests():
    """It is the very object that the proxy has: fifty proxies of a workload cost little more than one."""
    instance = Instance("n", **SERVES)

    def snapshot(rule: str) -> Any:
        held = model_of(MESH, TRAINER, REGISTRY, rule)
        return compile_snapshot(held, held.workloads["shared/registry"], instance, {}, now=NOW)

    before, after = snapshot(PULL), snapshot(PULL.replace("GET", "PUT"))
    assert before.named(EXTENSION_CONFIG) != after.named(EXTENSION_CONFIG)
    assert before.named(LISTENER)["inbound/http"] is after.named(LISTENER)["inbound/http"]


def test_what_was_made_of_something_else_is_made_anew():
    """And only the last is kept."""
    made, calls = Made(), []

    def make() -> int:
        calls.append(len(calls))
        return len(calls)

    assert [made.again("a", (of,), make) for of in (1, 1, 2, 1)] == [1, 1, 2, 3]
    assert made.again("b", (1,), make) == 4
