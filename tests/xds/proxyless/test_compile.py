"""What a gRPC library is given: by names, by its own dialect, and nothing that it would ignore."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity, RevokedSerial
from ringfence.policy.revoked import with_revoked
from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot, next_expiry
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.locality import Locality
from ringfence.xds.proxyless.losses import losses
from ringfence.xds.proxyless.names import listener_name, served_by
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.policy import intent, plain
from tests.policy.intent import NOW
from tests.xds.intent import INTENT, model_of
from tests.xds.proxyless.reader import Call, allowed

AT = ("10.0.0.2", 8081)
SERVER = Instance("g", inbound={"rpc": AT, "http": ("10.0.0.2", 8080)}, proxyless=True)
CLIENT = Instance("t", proxyless=True)
ENDPOINTS = {("shared/registry", "rpc"): (Endpoint("10.0.0.2", 1), Endpoint("10.0.0.1", 1), Endpoint("no-ip", 1))}
NEVER_ENDING = INTENT.replace("  expires: 2026-12-01T00:00:00Z\n", "")
REGISTRY = "spiffe://example.test/ns/shared/sa/registry"
TRAINER = "spiffe://example.test/ns/team-a/sa/trainer"


def snapshot(key: str, instance: Instance, revoked: Revocations | None = None) -> Snapshot:
    """What a workload's library gets."""
    model = with_revoked(model_of(), revoked or Revocations())
    return compile_snapshot(model, model.workloads[key], instance, ENDPOINTS, now=NOW)


def held(snapshot: Snapshot, url: str, name: str) -> Any:
    """One resource of it."""
    return codec.unpack(snapshot.named(url)[name].any)


def revoked(name: str, *, whole: bool = True) -> Revocations:
    """That identity, or one certificate of it."""
    if whole:
        return Revocations.of((), [RevokedIdentity(name, 5, "left", "alice")])
    return Revocations.of([RevokedSerial("0" * 31 + "1", name, "key", "node", 2**31, 5, "keyCompromise", "stolen")])


def test_a_server_finds_its_listener_by_the_address_that_it_has_bound():
    """By its own address and by those that mean all: the address within is the one of the name."""
    made = snapshot("shared/registry", SERVER)
    names = [listener_name(at) for at in (AT, ("0.0.0.0", 8081), ("::", 8081))]
    assert sorted(made.named(LISTENER)) == sorted(names)
    assert names[2].endswith("=[::]:8081")
    for name, host in zip(names, ("10.0.0.2", "0.0.0.0", "::"), strict=True):
        listener = held(made, LISTENER, name)
        address = listener.address.socket_address
        assert (address.address, address.port_value) == (host, 8081)
        assert not listener.listener_filters


def test_a_served_port_demands_mutual_tls_and_holds_two_filters_and_the_router():
    """One manager, one chain, certificates by provider; no field that gRPC refuses or passes over."""
    (chain,) = held(snapshot("shared/registry", SERVER), LISTENER, listener_name(AT)).filter_chains
    tls = codec.unpack(chain.transport_socket.typed_config.SerializeToString())
    assert tls.require_client_certificate.value
    common = tls.common_tls_context
    assert common.tls_certificate_provider_instance.instance_name == "ringfence"
    assert common.validation_context.ca_certificate_provider_instance.instance_name == "ringfence"
    assert not common.HasField("tls_params")
    assert not common.tls_certificate_sds_secret_configs
    (manager,) = (codec.unpack(f.typed_config.SerializeToString()) for f in chain.filters)
    assert [f.name for f in manager.http_filters] == ["ringfence.deny", "ringfence.allow", "envoy.filters.http.router"]
    assert not any(f.is_optional for f in manager.http_filters)


def test_every_chain_and_every_cluster_has_a_transport_socket():
    """Without one gRPC falls back to whatever the program named, which may be plaintext."""
    for made in (snapshot("shared/registry", SERVER), snapshot("team-a/trainer", CLIENT)):
        for name in made.named(LISTENER):
            assert all(chain.HasField("transport_socket") for chain in held(made, LISTENER, name).filter_chains)
        for name in made.named(CLUSTER):
            assert held(made, CLUSTER, name).HasField("transport_socket")


def test_the_rules_lie_in_the_routes():
    """A change of rules changes no listener, which gRPC would drain."""
    made = snapshot("shared/registry", SERVER)
    (host,) = held(made, ROUTE, "inbound/rpc").virtual_hosts
    (route,) = host.routes
    assert route.HasField("non_forwarding_action")
    assert list(host.domains) == ["*"]
    assert allowed(route.typed_per_filter_config, Call([TRAINER], "/pkg.Rows/Get"))
    later = compile_snapshot(
        model_of(), model_of().workloads["shared/registry"], SERVER, {}, now=NOW.replace(year=NOW.year + 1)
    )
    assert made.type_version(LISTENER) == later.type_version(LISTENER)
    (ended,) = held(later, ROUTE, "inbound/rpc").virtual_hosts[0].routes
    assert not allowed(ended.typed_per_filter_config, Call([TRAINER], "/pkg.Rows/Get")), "the rule has expired"


@pytest.mark.parametrize("whole", [True, False], ids=["identity", "certificate"])
def test_whoever_is_revoked_is_denied_and_the_listener_is_another_one(whole: bool):  # noqa: FBT001  # pytest's
    """By another name of its routes: gRPC drains what is open."""
    before = snapshot("shared/registry", SERVER)
    after = snapshot("shared/registry", SERVER, revoked(TRAINER, whole=whole))
    (name,) = after.named(ROUTE)
    assert name.startswith("inbound/rpc/")
    assert before.type_version(LISTENER) != after.type_version(LISTENER)
    (route,) = held(after, ROUTE, name).virtual_hosts[0].routes
    assert not allowed(route.typed_per_filter_config, Call([TRAINER], "/pkg.Rows/Get"))


def test_a_revoked_certificate_that_has_ended_denies_nobody_and_changes_no_listener():
    """All of its identity was refused for it, which is over with it; nothing is drained for that."""
    taken_back = revoked(TRAINER, whole=False)
    ends = datetime.fromtimestamp(next(iter(taken_back.serials.values())).not_after, UTC)
    model = with_revoked(model_of(NEVER_ENDING), taken_back)
    assert next_expiry(model, NOW) == ends
    before, after = (
        compile_snapshot(model, model.workloads["shared/registry"], SERVER, {}, now=now)
        for now in (ends - timedelta(seconds=1), ends)
    )
    verdicts = []
    for made in (before, after):
        (resource,) = made.named(ROUTE).values()
        (route,) = codec.unpack(resource.any).virtual_hosts[0].routes
        verdicts.append(allowed(route.typed_per_filter_config, Call([TRAINER], "/pkg.Rows/Get")))
    assert verdicts == [False, True]
    assert before.type_version(LISTENER) == after.type_version(LISTENER)
    assert [bool(losses(model, model.workloads["shared/registry"], now)[2:]) for now in (NOW, ends)] == [True, False]


def test_a_client_dials_by_name_and_demands_exactly_the_identity():
    """Listener, routes, cluster and endpoints; an address that is none would have gRPC refuse them all."""
    made = snapshot("team-a/trainer", CLIENT)
    assert list(made.named(LISTENER)) == ["registry.shared:rpc"], "http, postgres and hosts outside need a proxy"
    where = "outbound/registry.shared/rpc"
    cluster = held(made, CLUSTER, where)
    tls = codec.unpack(cluster.transport_socket.typed_config.SerializeToString()).common_tls_context
    (name,) = tls.validation_context.match_subject_alt_names
    assert name.exact == REGISTRY
    assert not tls.validation_context.match_typed_subject_alt_names
    (everywhere,) = held(made, ENDPOINT, where).endpoints
    assert everywhere.HasField("locality")
    assert everywhere.load_balancing_weight.value == 2
    hosts = [e.endpoint.address.socket_address.address for e in everywhere.lb_endpoints]
    assert hosts == ["10.0.0.1", "10.0.0.2"]


def test_there_is_no_way_to_a_server_that_is_revoked():
    """No cluster, and a route that no client can take."""
    made = snapshot("team-a/trainer", CLIENT, revoked(REGISTRY))
    assert not made.named(CLUSTER)
    (route,) = held(made, ROUTE, "outbound/registry.shared/rpc").virtual_hosts[0].routes
    assert route.HasField("non_forwarding_action")


def test_only_what_a_server_has_bound_is_offered():
    """By the names that it asks for; targets that the process dials are none."""
    inbound = {"rpc": AT, "other": ("10.0.0.2", 9)}
    assert served_by(frozenset({"registry.shared:rpc"}), inbound) == {}
    assert served_by(frozenset({listener_name(AT)}), inbound) == {"rpc": AT}
    assert served_by(frozenset({listener_name(("0.0.0.0", 8081))}), inbound) == {"rpc": AT}
    assert served_by(frozenset({listener_name(("10.0.0.3", 8081))}), inbound) == {}


def test_what_needs_a_proxy_is_said():
    """By port and by upstream."""
    model = model_of()
    assert [str(one) for one in losses(model, model.workloads["shared/registry"], NOW)] == [
        "http: http needs a proxy to be served",
        "db: postgres needs a proxy to be served",
    ]
    assert [str(one) for one in losses(model, model.workloads["team-a/trainer"], NOW)] == [
        "hub.shared/https: a host outside the mesh needs a proxy to be reached",
        "registry.shared/db: postgres needs a proxy to be reached",
        "registry.shared/http: http needs a proxy to be reached",
    ]


def test_plaintext_needs_a_proxy():
    """A library takes nobody without mutual TLS, and a rule for such callers names nobody to it: it is said."""
    taken = f"plaintext: {{until: {plain.UNTIL}, {plain.OWNED}}}"
    text = INTENT.replace("protocol: grpc}", f"protocol: grpc, {taken}}}") + plain.PROBE.replace(
        "port: http", "port: rpc"
    )
    model = intent.model_of(text.replace(plain.PROBE.splitlines()[1], "---\nkind: Allow"))
    said = [str(one) for one in losses(model, model.workloads["shared/registry"], NOW)]
    assert "rpc: callers without mutual TLS are refused: plaintext needs a proxy" in said
    made = compile_snapshot(model, model.workloads["shared/registry"], SERVER, ENDPOINTS, now=NOW)
    assert "shared/probe" not in str([held(made, ROUTE, name) for name in made.named(ROUTE)])


def test_equal_intent_is_equal_bytes_and_a_proxy_is_given_none_of_it():
    """Versions are hashes of content; the other dialect has other names."""
    made = snapshot("shared/registry", SERVER)
    assert made == snapshot("shared/registry", SERVER)
    proxied = snapshot("shared/registry", replace(SERVER, proxyless=False))
    assert not (made.named(LISTENER).keys() & proxied.named(LISTENER).keys())


def test_traffic_policy_is_said_to_be_for_proxies():
    """How calls are timed, retried and spread is Envoy's; who may make them is the rules' in both."""
    traffic = """
kind: Traffic
metadata: {name: slowly, namespace: shared}
spec: {to: {workload: registry, port: rpc}, timeout: 5s}
"""
    model = model_of(intent.joined(INTENT, traffic))
    for key in ("shared/registry", "team-a/trainer"):
        said = [str(one) for one in losses(model, model.workloads[key], NOW)]
        assert "shared/slowly: Traffic of shared/registry/rpc is followed by proxies only" in said


NEAR = (
    NEVER_ENDING
    + """
---
kind: Traffic
metadata: {name: near, namespace: shared}
spec: {to: {workload: registry, port: rpc}, zones: {preferLocal: true}}
"""
)
PLACES = (
    ("10.0.0.1", "eu", "eu-1"),
    ("10.0.0.2", "eu", "eu-2"),
    ("10.0.0.3", "us", "us-1"),
    ("10.0.0.4", "eu", "eu-1"),
)


def zones_of(text: str) -> list[tuple[int, str, int, int]]:
    """Priority, zone, weight and number of endpoints of each place, for a client in eu-1."""
    model = model_of(text)
    endpoints = {("shared/registry", "rpc"): tuple(Endpoint(host, 1, Locality(*where)) for host, *where in PLACES)}
    client = replace(CLIENT, locality=Locality("eu", "eu-1"))
    made = compile_snapshot(model, model.workloads["team-a/trainer"], client, endpoints, now=NOW)
    (name,) = made.named(ENDPOINT)
    places = held(made, ENDPOINT, name).endpoints
    return [(p.priority, p.locality.zone, p.load_balancing_weight.value, len(p.lb_endpoints)) for p in places]


def test_a_client_prefers_its_own_zone_where_traffic_says_so():
    """A place without a weight would be passed over: each weighs what it has."""
    assert zones_of(NEAR) == [(0, "eu-1", 2, 2), (1, "eu-2", 1, 1), (2, "us-1", 1, 1)]


def test_without_that_all_zones_are_one_place():
    """Endpoints are used in turn, whichever zone they are in."""
    assert zones_of(NEVER_ENDING) == [(0, "", 4, 4)]


def test_what_else_a_traffic_says_is_a_loss():
    """And what is kept is told."""
    model = model_of(NEAR)
    told = [str(loss) for loss in losses(model, model.workloads["team-a/trainer"], NOW)]
    assert "shared/near: Traffic of shared/registry/rpc is followed by proxies only, but for zones.preferLocal" in told
