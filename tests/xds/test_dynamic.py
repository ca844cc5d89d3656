"""Hosts with a star as resources: what looks a name up stands behind the rules, and its memory is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.types import CLUSTER, EXTENSION_CONFIG, LISTENER, ROUTE
from tests.policy import intent
from tests.policy.intent import NOW
from tests.xds import trees

STAR = """
kind: External
metadata: {name: buckets, namespace: shared}
spec:
  host: "*.s3.example"
  dynamic: {labels: one}
  ports: [{name: https, port: 443, protocol: http}, {name: raw, port: 8443, protocol: tcp, tls: passthrough}]
---
kind: External
metadata: {name: own, namespace: shared}
spec: {host: own.s3.example, ports: [{name: https, port: 443, protocol: http}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{external: buckets, namespace: shared, port: https}, {external: buckets, namespace: shared, port: raw}]
  owner: ml
  reason: base models
"""
RAW = """
kind: External
metadata: {name: raw, namespace: shared}
spec: {host: WHERE, ports: [{name: raw, port: 9, protocol: tcp, tls: false}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{external: raw, namespace: shared}], owner: ml, reason: base models}
"""
INSTANCE = Instance(
    "t",
    upstream={"buckets.shared/https": ("127.0.0.1", 1), "buckets.shared/raw": ("127.0.0.1", 2)},
    egress=("127.0.0.1", 3),
)
WHERE, PASSED = "outbound/buckets.shared/https", "outbound/buckets.shared/raw"


def resource(kind: str, name: str) -> Any:
    """One resource of the trainer's proxy."""
    model = intent.model_of(intent.MESH, intent.TRAINER, STAR)
    snapshot = compile_snapshot(model, model.workloads["team-a/trainer"], INSTANCE, {}, now=NOW)
    return codec.unpack(snapshot.named(kind)[name].any)


def filters(listener: str, chain: str = "") -> list[Any]:
    """The network filters of a listener's chain, by default the one that is called as it is."""
    chains = {each.name: each for each in resource(LISTENER, listener).filter_chains}
    return list(chains[chain or listener].filters)


def config(extension: Any) -> Any:
    """The configuration of one."""
    return codec.unpack(codec.encode(extension.typed_config))


def test_a_name_is_looked_up_behind_the_rules():
    """Else whoever may reach nothing could tell the world by questions to DNS."""
    for where in (WHERE, "egress"):
        names = [one.name for one in config(filters(where)[0]).http_filters]
        behind = ["envoy.filters.http.dynamic_forward_proxy", "envoy.filters.http.router"]
        assert names[-4:] == [f"{where}/deny", f"{where}/allow", *behind]


def test_the_certificate_is_checked_for_the_name_that_is_asked_for():
    """By Envoy's own two options, which need each other; the trust is the system's."""
    cluster = resource(CLUSTER, WHERE)
    (options,) = cluster.typed_extension_protocol_options.values()
    said = codec.unpack(codec.encode(options)).upstream_http_protocol_options
    assert (said.auto_sni, said.auto_san_validation) == (True, True)
    tls = config(cluster.transport_socket)
    assert tls.common_tls_context.validation_context.trusted_ca.filename
    assert tls.sni == ""


def test_the_cache_of_names_is_bounded_and_one_for_requests():
    """All who share a cache have it the same, or Envoy refuses the second."""
    cluster = config(resource(CLUSTER, WHERE).cluster_type).dns_cache_config
    listener = config(config(filters(WHERE)[0]).http_filters[-2]).dns_cache_config
    forward = config(config(filters("egress")[0]).http_filters[-2]).dns_cache_config
    assert cluster == listener == forward
    assert 0 < cluster.max_hosts.value <= 4096
    assert cluster.dns_cache_circuit_breaker.max_pending_requests.value > 0


def test_tls_that_passes_through_is_judged_before_its_name_is_looked_up():
    """And an answer that leads where nothing may lead is none: a connection has no address to judge before."""
    names = [one.name for one in filters(PASSED)]
    assert names.index("envoy.filters.network.sni_dynamic_forward_proxy") == 1
    lookup = config(filters(PASSED)[1])
    ranges = {
        f"{one.address_prefix}/{one.prefix_len.value}" for one in lookup.dns_cache_config.resolved_address_filter.ranges
    }
    assert {"169.254.0.0/16", "127.0.0.0/8", "10.0.0.0/8", "::ffff:0:0/96", "fe80::/10"} <= ranges
    assert lookup.port_value == 8443
    assert config(resource(CLUSTER, PASSED).cluster_type).dns_cache_config == lookup.dns_cache_config


def test_what_is_denied_has_a_chain_in_which_nothing_is_looked_up():
    """Envoy looks up before its first byte is judged; the rules, the record and the end of both chains are the same."""
    allowed, refused = filters(PASSED), filters(PASSED, f"{PASSED}/refused")
    assert refused == [allowed[0], allowed[2]]
    matcher = resource(LISTENER, PASSED).filter_chain_matcher
    found = {name: trees.chain(matcher, name) for name in ("a.s3.example", "own.s3.example", "evil.example", "")}
    assert found.pop("a.s3.example") == PASSED
    assert set(found.values()) == {f"{PASSED}/refused"}


@pytest.mark.parametrize(
    ("where", "looked_up"),
    [
        ("raw.example", "raw.example"),
        ("raw.example, address: 'other.example:99'", "other.example"),
        ("raw.example, address: 10.0.0.1", ""),
        ("10.0.0.1", ""),
        ("localhost", ""),
    ],
)
def test_a_connection_to_a_host_that_dns_answers_for_is_judged_by_what_it_may_answer(where: str, looked_up: str):
    """The look-up of that very name stands behind the rules, whatever a client asks for; an address needs none."""
    text = RAW.replace("WHERE", where)
    model = intent.model_of(intent.MESH, intent.TRAINER, text)
    instance = Instance("t", upstream={"raw.shared/raw": ("127.0.0.1", 1)})
    snapshot = compile_snapshot(model, model.workloads["team-a/trainer"], instance, {}, now=NOW)
    listener = codec.unpack(snapshot.named(LISTENER)["outbound/raw.shared/raw"].any)
    cluster = codec.unpack(snapshot.named(CLUSTER)["outbound/raw.shared/raw"].any)
    names = [one.name for one in listener.filter_chains[0].filters]
    assert names[0] == "ringfence.connection_rbac"
    assert ("envoy.filters.network.sni_dynamic_forward_proxy" in names) is bool(looked_up)
    assert cluster.HasField("cluster_type") is bool(looked_up)
    if looked_up:
        (said,) = config(listener.filter_chains[0].filters[1]).on_new_connection
        assert (said.object_key, said.format_string.text_format_source.inline_string) == (
            "envoy.upstream.dynamic_host",
            looked_up,
        )
        found = config(listener.filter_chains[0].filters[2])
        assert found.port_value == (99 if "99" in where else 9)
        assert config(cluster.cluster_type).dns_cache_config == found.dns_cache_config


def test_the_forward_proxy_routes_declared_ports_alone():
    """A star and a port are one domain; the host is not rewritten, since it is what is looked up."""
    hosts = {host.name: host for host in resource(ROUTE, "egress").virtual_hosts}
    assert list(hosts["buckets.shared/https"].domains) == ["*.s3.example:443"]
    assert hosts["buckets.shared/https"].routes[-1].route.host_rewrite_literal == ""


def test_a_name_of_another_document_is_denied_before_the_star_is_asked():
    """It comes first in the tree, and its branch has an end."""
    policy = codec.unpack(codec.encode(resource(EXTENSION_CONFIG, f"{WHERE}/allow").typed_config))
    own, star = policy.matcher.matcher_list.matchers
    assert own.predicate.single_predicate.value_match.safe_regex.regex.startswith(r"(?:own\.s3\.example)")
    assert codec.unpack(codec.encode(own.on_match.action.typed_config)).name == "default-deny@builtin"
    assert codec.unpack(codec.encode(star.on_match.action.typed_config)).name.startswith("team-a/pull@")
