"""Rules on gRPC calls: sugar for the requests that the calls are, and only where gRPC is spoken."""

from __future__ import annotations

import pytest

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.load import Loaded
from ringfence.policy.model import Model
from tests.policy.intent import MESH, NOW, TRAINER, codes, joined, load

SERVER = """
kind: Workload
metadata: {name: models, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: rpc, port: 8081, protocol: grpc}, {name: http, port: 8080, protocol: http}]
"""
RULE = """
kind: Allow
metadata: {name: calls, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: models, namespace: shared, port: rpc}]
  grpc: [{services: [pkg.v1.Models, pkg.Health], methods: [Get, List]}]
  owner: ml
  reason: models
"""
GRPC = "grpc: [{services: [pkg.v1.Models, pkg.Health], methods: [Get, List]}]"


def loaded(grpc: str = GRPC, port: str = "rpc") -> Loaded:
    """The rule with these conditions at that port."""
    assert GRPC in RULE
    rule = RULE.replace(GRPC, grpc).replace("port: rpc", f"port: {port}")
    return load(MESH, TRAINER, SERVER, rule)


def model(grpc: str = GRPC) -> Model:
    """Its model, which must be good."""
    found = loaded(grpc).model
    assert found is not None
    return found


def allowed(some: Model, path: str, method: str = "POST", **metadata: str) -> bool:
    """Whether the trainer's call is let in."""
    source = some.workloads["team-a/trainer"].spiffe_id
    lines = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    return evaluate(some, Request(source, "shared/models", "rpc", NOW, method, path, headers=lines)).allowed


@pytest.mark.parametrize(
    ("grpc", "let_in", "refused"),
    [
        (
            GRPC,
            ["/pkg.v1.Models/Get", "/pkg.Health/List"],
            ["/pkg.v1.Models/Put", "/pkg.Models/Get", "/pkg.v1.Models/Get/x", "/pkg.v1.Models/", "/pkgxv1.Models/Get"],
        ),
        (
            "grpc: [{services: [pkg.Models]}]",
            ["/pkg.Models/Get", "/pkg.Models/Put"],
            ["/pkg.Models2/Get", "/pkg.Models"],
        ),
        ("grpc: [{methods: [Get]}]", ["/a.B/Get", "/c.D/Get"], ["/a.B/Put", "/Get", "/a/b/Get"]),
        ("grpc: [{services: [a.B]}, {methods: [Get]}]", ["/a.B/Put", "/c.D/Get"], ["/c.D/Put"]),
    ],
)
def test_a_rule_on_calls_means_their_requests(grpc: str, let_in: list[str], refused: list[str]):
    """POST /package.Service/Method, and no other method of HTTP."""
    some = model(grpc)
    assert [allowed(some, path) for path in let_in] == [True] * len(let_in)
    assert [allowed(some, path) for path in refused] == [False] * len(refused)
    assert not any(allowed(some, path, "GET") for path in let_in)


def test_metadata_are_headers():
    """With the reading of repeated ones that headers have."""
    some = model("grpc: [{services: [a.B], metadata: [{name: x-tenant, exact: blue}]}]")
    assert allowed(some, "/a.B/Get", x_tenant="blue")
    assert not allowed(some, "/a.B/Get")
    assert not allowed(some, "/a.B/Get", x_tenant="blue,red")


def test_the_sugar_changes_no_hash():
    """The same calls written as http are the same rule to every proxy."""
    plain = 'http: [{methods: [POST], paths: ["/a.B/Get", "/a.B/Put"]}]'
    assert model("grpc: [{services: [a.B], methods: [Put, Get]}]").rules[0].hash == model(plain).rules[0].hash


@pytest.mark.parametrize(
    "grpc",
    [
        "grpc: [{}]",
        "grpc: []",
        "grpc: [{services: []}]",
        "grpc: [{services: [a/B]}]",
        "grpc: [{services: ['*']}]",
        "grpc: [{services: [.B]}]",
        "grpc: [{methods: [a.B]}]",
        "grpc: [{metadata: [{name: host, present: true}]}]",
        "grpc: [{methods: [Get]}]\n  http: [{methods: [GET]}]",
    ],
)
def test_what_names_no_call_is_refused(grpc: str):
    """Nothing is read as wider than it is written."""
    found = loaded(grpc)
    assert found.model is None
    assert codes(found) == ["RF1104"]


def test_a_port_that_does_not_speak_grpc_has_no_calls():
    """For one that speaks HTTP the requests can be written as such."""
    found = loaded(port="http")
    assert found.model is None
    assert codes(found) == ["RF1211"]
    (line,) = {finding.line for finding in found.findings}
    assert "grpc:" in joined(MESH, TRAINER, SERVER, RULE).splitlines()[line - 1]
