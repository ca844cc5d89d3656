"""Resources as people read them."""

from __future__ import annotations

import pytest

from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.locality import Locality
from ringfence.xds.readable import KINDS, addresses, differences, plain, reread, secret_names, summary
from ringfence.xds.snapshot import Snapshot
from tests.broker.fleet.world import model
from tests.policy.intent import NOW

MODEL = model()
CALLED = ("shared/registry", "http")


def snapshot_of(key: str, instance: Instance, *endpoints: Endpoint) -> Snapshot:
    """What the proxy of a workload is sent."""
    return compile_snapshot(MODEL, MODEL.workloads[key], instance, {CALLED: endpoints}, now=NOW)


SERVING = snapshot_of("shared/registry", Instance("r", inbound={"http": ("127.0.0.1", 15000)}))
NEAR = Locality("eu", "eu-1")
CALLING = snapshot_of(
    "team-a/trainer",
    Instance("t", upstream={"registry.shared/http": ("127.0.0.1", 15001)}),
    Endpoint("10.0.0.1", 15000),
    Endpoint("10.0.0.2", 15000, NEAR),
)


def said(snapshot: Snapshot, kind: str, name: str) -> str:
    """The line that sums up a resource."""
    url = KINDS[kind]
    return summary(url, plain(codec.unpack(snapshot.named(url)[name].any)))


@pytest.mark.parametrize(
    ("snapshot", "kind", "name", "expected"),
    [
        (SERVING, "listener", "inbound/http", "127.0.0.1:15000, 1 filter chains"),
        (SERVING, "cluster", "app/http", "STATIC 127.0.0.1:8080"),
        (SERVING, "route", "inbound/http", "1 routes to app/http"),
        (CALLING, "cluster", "outbound/registry.shared/http", "EDS"),
        (CALLING, "endpoint", "outbound/registry.shared/http", "10.0.0.1:15000, 10.0.0.2:15000 region=eu zone=eu-1"),
    ],
)
def test_a_line_sums_a_resource_up(snapshot: Snapshot, kind: str, name: str, expected: str) -> None:
    """An address, a kind of cluster, where a route leads, endpoints with their places."""
    assert said(snapshot, kind, name) == expected


def test_a_policy_is_summed_up_by_the_rules_in_it() -> None:
    """Each by the name and hash that a decision carries."""
    (rule,) = MODEL.rules
    assert rule.policy_id in said(SERVING, "policy", "inbound/http/allow")


def test_secrets_are_named_and_never_shown() -> None:
    """Its own SVID and every bundle, by the names that it asks its agent for."""
    listener = plain(codec.unpack(SERVING.named(KINDS["listener"])["inbound/http"].any))
    assert secret_names(listener) == {"spiffe://example.test/ns/shared/sa/registry", "ALL"}
    assert "PRIVATE KEY" not in str(
        [plain(codec.unpack(r.any)) for n in SERVING.resources.values() for r in n.values()]
    )


def test_what_another_wrote_is_read_as_our_own_words() -> None:
    """Defaults that it spells out, and another spelling of a duration, are no difference."""
    cluster = "envoy.config.cluster.v3.Cluster"
    ours = plain(codec.build(cluster, name="c", connect_timeout={"seconds": 5}))
    assert reread(cluster, {"name": "c", "connect_timeout": "5.000s", "dns_lookup_family": "AUTO"}) == ours
    with pytest.raises(ValueError, match="no_such_field"):
        reread(cluster, {"no_such_field": 1})


def test_a_difference_is_told_by_its_path() -> None:
    """Down to the value, in lists of one length too; equal things differ in nothing."""
    assert list(differences({"a": [{"b": 1}], "c": 2}, {"a": [{"b": 3}]})) == ["a[0].b: 1 -> 3", "c: 2 -> nothing"]
    assert list(differences({"a": [1]}, {"a": [1, 2]})) == ["a: [1] -> [1, 2]"]
    assert list(differences({"a": [1]}, {"a": [1]})) == []


def test_an_endpoint_on_a_unix_socket_has_its_path() -> None:
    """As a workload's own cluster may have."""
    pipe = {"endpoint": {"address": {"pipe": {"path": "/run/app.sock"}}}}
    assert addresses({"endpoints": [{"priority": 1, "lb_endpoints": [pipe]}]}) == {"/run/app.sock": {"priority": 1}}
