"""What a Traffic document becomes at a caller's proxy: clusters, routes, splits; and what stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ringfence.xds import codec, types
from ringfence.xds.snapshot import Snapshot
from tests.xds.intent import INTENT, TRAINER, snapshot_of

CANARY = """---
kind: Workload
metadata: {name: canary, namespace: shared}
spec: {match: [{unix.uid: 1009}], serves: [{name: http, port: 8081, protocol: http}]}
"""
TRAFFIC = """---
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  timeout: 2s
  connectTimeout: 250ms
  retries: {attempts: 3, on: [unavailable, reset], perTryTimeout: 500ms, budget: {percent: 10}}
  outlierDetection: {consecutiveErrors: 4}
  limits: {maxConnections: 100}
  balance: least-request
  zones: {panicPercent: 30}
  healthCheck: {http: /healthz}
  routes:
    - match: [{methods: [GET, HEAD], paths: [/a, /b/**], headers: [{name: x-canary, exact: "1"}]}]
      split: [{workload: canary, weight: 1}]
    - mirror: {workload: canary, percent: 5}
      timeout: 1m
"""
WHERE, CANARY_WHERE = "outbound/registry.shared/http", "outbound/canary.shared/http"


def read(snapshot: Snapshot, url: str, name: str) -> Any:
    """One resource, read back."""
    return codec.unpack(snapshot.named(url)[name].any)


def test_a_cluster_has_what_the_document_says():
    """Every limit, check and policy stands in the caller's cluster."""
    cluster = read(snapshot_of("team-a/trainer", TRAINER, INTENT + CANARY + TRAFFIC), types.CLUSTER, WHERE)
    assert cluster.connect_timeout.ToTimedelta() == timedelta(milliseconds=250)
    threshold = cluster.circuit_breakers.thresholds[0]
    assert threshold.max_connections.value == 100
    assert threshold.retry_budget.budget_percent.value == 10
    assert cluster.outlier_detection.consecutive_5xx.value == 4
    assert cluster.lb_policy == cluster.LEAST_REQUEST
    assert cluster.common_lb_config.healthy_panic_threshold.value == 30
    assert cluster.health_checks[0].http_health_check.path == "/healthz"


def test_routes_are_tried_in_the_order_of_the_document():
    """One entry a path, all with the same conditions; the last one takes what no route took."""
    config = read(snapshot_of("team-a/trainer", TRAINER, INTENT + CANARY + TRAFFIC), types.ROUTE, WHERE)
    a, b, mirrored, rest = config.virtual_hosts[0].routes
    assert [header.name for header in a.match.headers] == ["x-canary", ":method"]
    assert a.match.headers[1].string_match.safe_regex.regex == "GET|HEAD"
    assert [part.name for part in a.route.weighted_clusters.clusters] == [CANARY_WHERE]
    assert b.route == a.route
    assert mirrored.route.request_mirror_policies[0].cluster == CANARY_WHERE
    assert mirrored.route.timeout.ToTimedelta() == timedelta(minutes=1)
    assert rest.route.cluster == WHERE
    assert rest.route.timeout.ToTimedelta() == timedelta(seconds=2)
    always = ["connect-failure", "refused-stream", "reset-before-request", "retriable-headers"]
    assert rest.route.retry_policy.retry_on.split(",") == [*always, "unavailable", "reset"]


def test_a_caller_holds_the_clusters_that_its_routes_lead_to():
    """With their endpoints and their exact identity, though nothing allows it to call them by a name of their own."""
    snapshot = snapshot_of("team-a/trainer", TRAINER, INTENT + CANARY + TRAFFIC)
    assert CANARY_WHERE in snapshot.named(types.CLUSTER)
    assert CANARY_WHERE in snapshot.named(types.ENDPOINT)
    assert CANARY_WHERE not in snapshot.named(types.LISTENER)
    socket = read(snapshot, types.CLUSTER, CANARY_WHERE).transport_socket
    assert b"spiffe://example.test/ns/shared/sa/canary" in codec.encode(socket)


def test_without_traffic_not_a_byte_differs():
    """A document about one port changes nothing at the proxies of others."""
    before = snapshot_of("team-a/trainer", TRAINER, INTENT + CANARY)
    after = snapshot_of("team-a/trainer", TRAINER, INTENT + CANARY + TRAFFIC)
    rpc = "outbound/registry.shared/rpc"
    for url in (types.CLUSTER, types.ROUTE, types.LISTENER):
        assert before.named(url)[rpc] == after.named(url)[rpc]
    assert after.named(types.LISTENER)[WHERE] == before.named(types.LISTENER)[WHERE]


def test_what_never_reached_a_workload_is_tried_elsewhere():
    """Without a document too; a caller that prefers its zone goes to the next one, which no other caller has."""
    plain = read(snapshot_of("team-a/trainer", TRAINER), types.ROUTE, WHERE).virtual_hosts[0].routes[0].route
    assert [header.name for header in plain.retry_policy.retriable_headers] == ["x-ringfence-unsent"]
    assert [each.name for each in plain.retry_policy.retry_host_predicate] == [
        "envoy.retry_host_predicates.previous_hosts"
    ]
    assert not plain.retry_policy.HasField("retry_priority")
    cluster = read(snapshot_of("team-a/trainer", TRAINER), types.CLUSTER, WHERE)
    assert cluster.circuit_breakers.thresholds[0].max_retries.value == 1024

    spec = "{to: {workload: registry, port: http}, zones: {}}"
    zones = f"---\nkind: Traffic\nmetadata: {{name: r, namespace: shared}}\nspec: {spec}\n"
    near = read(snapshot_of("team-a/trainer", TRAINER, INTENT + zones), types.ROUTE, WHERE)
    policy = near.virtual_hosts[0].routes[0].route.retry_policy
    assert policy.retry_priority.name == "envoy.retry_priorities.previous_priorities"
