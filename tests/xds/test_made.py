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
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.locality import Locality
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


OTHER = REGISTRY.replace("name: registry", "name: canary").replace("1002", "1005")
ROUTES = """
kind: Traffic
metadata: {name: t, namespace: shared}
spec:
  to: {workload: registry, port: http}
  timeout: N
  routes: [{match: [{methods: [PUT]}], split: [{workload: canary, port: http, weight: 1}]}]
"""
AT = (Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 1, Locality("eu", "eu-1")))
CALLS: dict[str, st.SearchStrategy[Any]] = {
    "serves": st.sampled_from(["http", "http", "http", "grpc", "tcp"]),
    "db": st.sampled_from(["ports: 5000-5002", "ports: 5000-5003"]),
    "traffic": st.sampled_from(["", ROUTES.replace("N", "5s"), ROUTES.replace("N", "7s")]),
    "rule": st.sampled_from(["GET", "PUT"]),
    "more": st.booleans(),
    "revoked": st.sets(st.sampled_from(["shared/sa/registry", "shared/sa/canary", "team-a/sa/trainer"]), max_size=2),
    "tainted": st.sampled_from([frozenset[str](), frozenset({"a"})]),
    "there": st.sampled_from([(), AT[:1], AT]),
    "elsewhere": st.sampled_from([(), AT]),
}


def called(
    serves: str, db: str, traffic: str, rule: str, revoked: set[str], tainted: frozenset[str], *, more: bool
) -> Model:
    """A mesh in which the trainer calls the registry, with or without requests to judge, and perhaps its database."""
    speaks = f"protocol: {serves}}}"
    texts = [MESH, TRAINER, *(text.replace("protocol: http}", speaks) for text in (REGISTRY, OTHER))]
    texts = [text.replace("socket: .s.PGSQL.5432, protocol: postgres", f"{db}, protocol: tcp") for text in texts]
    texts += [traffic] if serves == "http" and traffic else []
    texts += [
        PULL.replace("GET", rule) if serves != "tcp" else DB.replace("port: db", "port: http"),
        DB if more else "",
    ]
    texts[-1] = texts[-1].replace("name: db, namespace", "name: db-too, namespace")
    out = Revocations.of((), [RevokedIdentity(f"spiffe://example.test/ns/{name}", 5, "x", "y") for name in revoked])
    return replace(with_revoked(model_of(*filter(None, texts)), out), tainted=tainted)


@given(st.lists(st.fixed_dictionaries(CALLS), min_size=2, max_size=4))
def test_so_is_the_next_snapshot_of_a_caller(steps: list[dict[str, Any]]):
    """Whatever changed of those that it calls, and of where they are."""
    upstream = {"registry.shared/http": ("127.0.0.1", 1), "registry.shared/db": ("127.0.0.2", 5000)}
    known = Instance("n", upstream=upstream)
    for step in steps:
        endpoints = {("shared/registry", "http"): step.pop("there"), ("shared/canary", "http"): step.pop("elsewhere")}
        held = called(**step)
        for_it, for_a_new_one = (
            compile_snapshot(held, held.workloads["team-a/trainer"], instance, endpoints, now=NOW)
            for instance in (known, Instance("n", upstream=upstream))
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
