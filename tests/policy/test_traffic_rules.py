"""Traffic documents as values: what each field becomes, and what is refused with its place."""

from datetime import timedelta

import pytest

from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Destination
from ringfence.policy.traffic import Balance, Mirror, Retries, Weight
from tests.policy.intent import HUB, MESH, PULL, REGISTRY, TRAINER, codes, load, model_of, only

CANARY = """
kind: Workload
metadata: {name: canary, namespace: shared}
spec: {match: [{unix.uid: 1009}], serves: [{name: http, port: 8081, protocol: http}]}
"""
TO_CANARY = PULL.replace("name: pull", "name: pull-canary").replace("workload: registry", "workload: canary")
TRAFFIC = """
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  timeout: 2s
  connectTimeout: 250ms
  retries: {attempts: 3, on: [unavailable, reset], perTryTimeout: 500ms, budget: {percent: 10}}
  outlierDetection: {consecutiveErrors: 4, baseEjectionTime: 10s}
  limits: {maxConnections: 100}
  balance: least-request
  zones: {panicPercent: 30}
  healthCheck: {http: /healthz, interval: 2s}
  routes:
    - match: [{headers: [{name: x-canary, exact: "1"}]}]
      split: [{workload: canary, weight: 1}]
    - split: [{workload: registry, port: http, weight: 9}, {workload: canary, weight: 1}]
      mirror: {workload: canary, percent: 5}
  rateLimits: [{requests: 100, per: 1s}]
"""
WHOLE = (MESH, TRAINER, REGISTRY, CANARY, PULL, TO_CANARY)
HTTP, CANARY_HTTP = Destination("shared/registry", "http"), Destination("shared/canary", "http")


def test_every_field_reaches_the_model():
    """The one Traffic of a port holds what was written, with defaults where a part was begun and not ended."""
    traffic = model_of(*WHOLE, TRAFFIC).traffic[HTTP]
    assert traffic.timeout == timedelta(seconds=2)
    assert traffic.connect_timeout == timedelta(milliseconds=250)
    assert traffic.retries == Retries(3, ("unavailable", "reset"), timedelta(milliseconds=500), 10, 3)
    assert traffic.balance is Balance.LEAST_REQUEST
    assert traffic.zones is not None
    assert traffic.zones.prefer_local
    assert traffic.zones.panic_percent == 30
    assert traffic.health_check is not None
    assert traffic.health_check.http == "/healthz"
    first, second = traffic.routes
    assert first.match[0].headers == (HeaderMatch("x-canary", exact="1"),)
    assert second.split == (Weight(HTTP, 9), Weight(CANARY_HTTP, 1))
    assert second.mirror == Mirror(CANARY_HTTP, 5)
    assert traffic.rate_limits[0].burst == 100
    assert traffic.rate_limits[0].by_caller
    assert traffic.reached() == {HTTP, CANARY_HTTP}


def test_traffic_is_part_of_the_revision():
    """Another weight is another revision; a set without any Traffic keeps the revision that it always had."""
    without, with_it = model_of(*WHOLE), model_of(*WHOLE, TRAFFIC)
    changed = model_of(*WHOLE, TRAFFIC.replace("weight: 9", "weight: 8"))
    assert len({without.revision, with_it.revision, changed.revision}) == 3
    assert not without.traffic


def test_a_port_has_one_traffic():
    """Two documents for one port would leave open which of them holds."""
    loaded = load(*WHOLE, TRAFFIC, TRAFFIC.replace("name: registry, namespace", "name: zweite, namespace"))
    assert "RF1209" in codes(loaded)
    assert loaded.model is None


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("rateLimits: [{requests: 100, per: 1s}]", "rateLimits: [{requests: 100, per: 49ms}]", "RF1104"),
        ("port: http}", "port: db}", "RF1210"),  # requests on a port that has none
        ("workload: registry, port: http}", "workload: registri, port: http}", "RF1202"),
        ("healthCheck: {http: /healthz", 'healthCheck: {grpc: "x"', "RF1210"),
        ("mirror: {workload: canary", "mirror: {workload: canari", "RF1202"),
        ("{workload: canary, weight: 1}]\n    -", "{workload: registry, port: db, weight: 1}]\n    -", "RF1210"),
        ("connectTimeout: 250ms", "connectTimeout: 0ms", "RF1108"),
        ("connectTimeout: 250ms", "connectTimeout: 1.5s", "RF1108"),
        ('exact: "1"', 'exact: "1", present: true', "RF1104"),
        ("name: x-canary", "name: X_Canary", "RF1104"),
        ("split: [{workload: canary, weight: 1}]", "split: [{workload: canary, weight: 0}]", "RF1104"),
        ("limits: {maxConnections: 100}", "limits: {}", "RF1104"),
        ("panicPercent: 30", "panicPercent: 101", "RF1104"),
        ("timeout: 2s", "timeOut: 2s", "RF1102"),
    ],
)
def test_what_does_not_fit_is_refused(old: str, new: str, code: str):
    """Each mistake has its code and a line within the document; none is dropped in silence."""
    assert old in TRAFFIC
    loaded = load(*WHOLE, TRAFFIC.replace(old, new))
    assert code in codes(loaded)
    assert loaded.model is None


def test_an_external_host_may_have_traffic():
    """Timeouts and retries towards a host outside are written the same way."""
    outside = "kind: Traffic\nmetadata: {name: hub, namespace: shared}\nspec: {to: {external: hub}, timeout: 30s}\n"
    loaded = load(MESH, HUB, outside)
    assert loaded.model is not None
    assert loaded.model.traffic[Destination("shared/hub", "https")].timeout == timedelta(seconds=30)
    assert not loaded.findings


@pytest.mark.parametrize("field", ["zones: {}", "rateLimits: [{requests: 1, per: 1s}]", "routes: [{timeout: 1s}]"])
def test_a_host_outside_has_neither_zones_nor_routes_nor_limits_of_its_own(field: str):
    """They are for proxies of the mesh; taken in silence they would do nothing."""
    outside = f"kind: Traffic\nmetadata: {{name: hub, namespace: shared}}\nspec: {{to: {{external: hub}}, {field}}}\n"
    assert only(load(MESH, HUB, outside)).code == "RF1210"


def test_a_second_route_target_that_is_unknown_is_named_in_its_line():
    """The finding points at the part of the split, not at the document."""
    found = only(
        load(
            *WHOLE,
            TRAFFIC.replace("{workload: canary, weight: 1}]\n      mirror", "{workload: x, weight: 1}]\n      mirror"),
        )
    )
    assert found.code == "RF1202"
    assert "shared/x" in found.message
