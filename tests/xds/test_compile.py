"""What a proxy gets: only its own, the same bytes every time, and every listener hardened and guarded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ringfence.xds import codec, types
from ringfence.xds.compile import next_expiry
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.xds.intent import INTENT, NOW, REGISTRY, TRAINER, model_of, snapshot_of

BOTH = [("shared/registry", REGISTRY), ("team-a/trainer", TRAINER)]
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def listeners(snapshot: Snapshot) -> dict[str, Any]:
    """The listeners by name, read back."""
    return {name: codec.unpack(r.any) for name, r in snapshot.named(types.LISTENER).items()}


def managers(snapshot: Snapshot) -> dict[str, Any]:
    """The connection managers by listener."""
    found = {}
    for name, listener in listeners(snapshot).items():
        for item in listener.filter_chains[0].filters:
            if item.typed_config.type_url == HCM:
                found[name] = codec.unpack(codec.encode(item.typed_config))
    return found


@pytest.mark.parametrize(("key", "instance"), BOTH)
def test_the_same_input_is_the_same_bytes(key: str, instance: Instance):
    """Two servers, or one before and after a restart, push nothing to a proxy that has it already."""
    assert snapshot_of(key, instance) == snapshot_of(key, instance)


def test_a_comment_or_a_reason_changes_no_byte():
    """A policy id is the hash of the rule's own meaning."""
    other = INTENT.replace("reason: base model\n", "reason: another\n").replace("kind: Mesh", "# note\nkind: Mesh")
    one, two = snapshot_of("shared/registry", REGISTRY), snapshot_of("shared/registry", REGISTRY, other)
    assert one.resources == two.resources


def test_a_change_of_a_request_rule_changes_policy_alone():
    """HTTP authorisation is in ECDS: listeners, routes and clusters keep their version, so nothing drains."""
    other = INTENT.replace("methods: [GET]", "methods: [GET, HEAD]")
    one, two = snapshot_of("shared/registry", REGISTRY), snapshot_of("shared/registry", REGISTRY, other)
    assert one.type_version(types.EXTENSION_CONFIG) != two.type_version(types.EXTENSION_CONFIG)
    for url in (types.LISTENER, types.CLUSTER, types.ROUTE, types.ENDPOINT):
        assert one.type_version(url) == two.type_version(url)


def test_a_change_of_a_connection_rule_changes_its_listener_alone():
    """Only the chain of that port drains, which is what ends the connections it allowed."""
    other = INTENT.replace("{workload: registry, namespace: shared, port: db}, ", "")
    one, two = snapshot_of("shared/registry", REGISTRY), snapshot_of("shared/registry", REGISTRY, other)
    changed = [n for n, r in one.named(types.LISTENER).items() if r.version != two.named(types.LISTENER)[n].version]
    assert changed == ["inbound/db"]


def test_a_proxy_holds_what_its_workload_serves_and_may_reach():
    """No name of another tenant, no upstream that no rule allows."""
    trainer = snapshot_of("team-a/trainer", TRAINER)
    assert set(trainer.named(types.LISTENER)) == {
        "egress",
        "outbound/hub.shared/https",
        "outbound/registry.shared/db",
        "outbound/registry.shared/http",
        "outbound/registry.shared/rpc",
    }
    notebook = snapshot_of("team-b/notebook", TRAINER)
    assert set(notebook.named(types.LISTENER)) == {"egress"}
    assert notebook.named(types.CLUSTER) == {}
    assert snapshot_of("team-a/trainer", Instance("t")).resources == {}


def test_no_snapshot_holds_a_secret():
    """Keys come from the agent on the node, never from the server."""
    for key, instance in BOTH:
        snapshot = snapshot_of(key, instance)
        assert types.SECRET not in snapshot.resources
        assert not any(b"PRIVATE KEY" in r.any for named in snapshot.resources.values() for r in named.values())


@pytest.mark.parametrize(("key", "instance"), BOTH)
def test_every_connection_manager_is_hardened(key: str, instance: Instance):
    """Path normalisation, merged and unescaped slashes, no underscores, trailing dot: on every listener."""
    found = managers(snapshot_of(key, instance))
    assert found
    for manager in found.values():
        assert manager.normalize_path.value
        assert manager.merge_slashes
        assert manager.strip_trailing_host_dot
        kind = manager.DESCRIPTOR.fields_by_name["path_with_escaped_slashes_action"].enum_type
        assert kind.values_by_number[manager.path_with_escaped_slashes_action].name == "UNESCAPE_AND_FORWARD"
        assert manager.common_http_protocol_options.headers_with_underscores_action == 1


def test_policy_of_requests_comes_by_ecds_without_a_default():
    """A listener is not live before its policy is there: there is nothing it could fall back to."""
    for name, manager in managers(snapshot_of("shared/registry", REGISTRY)).items():
        kinds = [f.name for f in manager.http_filters]
        assert kinds == [
            "ringfence.decision",
            "ringfence.guard",
            f"{name}/deny",
            f"{name}/allow",
            "envoy.filters.http.router",
        ]
        for item in manager.http_filters[2:4]:
            assert not item.config_discovery.HasField("default_config")
            assert not item.config_discovery.apply_default_config_without_warming
            assert not item.is_optional
            assert item.config_discovery.config_source.initial_fetch_timeout.seconds == 0


def test_every_inbound_listener_demands_a_certificate_and_tls_1_3():
    """Both bounds are set, the certificate is demanded, the secrets are the agent's."""
    for listener in listeners(snapshot_of("shared/registry", REGISTRY)).values():
        socket = listener.filter_chains[0].transport_socket
        tls = codec.unpack(codec.encode(socket.typed_config))
        common = tls.common_tls_context
        assert tls.require_client_certificate.value
        assert common.tls_params.tls_minimum_protocol_version == 4
        assert common.tls_params.tls_maximum_protocol_version == 4
        assert common.validation_context_sds_secret_config.name == "ALL"
        assert [s.name for s in common.tls_certificate_sds_secret_configs] == [
            "spiffe://example.test/ns/shared/sa/registry"
        ]
        assert len(listener.filter_chains) == 1
        assert not listener.HasField("default_filter_chain")


def test_an_upstream_in_the_mesh_is_spoken_to_under_its_exact_name():
    """TLS 1.3 up to the peer, and one exact URI SAN."""
    clusters = snapshot_of("team-a/trainer", TRAINER).named(types.CLUSTER)
    cluster = codec.unpack(clusters["outbound/registry.shared/http"].any)
    common = codec.unpack(codec.encode(cluster.transport_socket.typed_config)).common_tls_context
    matchers = common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    assert [m.matcher.exact for m in matchers] == ["spiffe://example.test/ns/shared/sa/registry"]
    assert common.tls_params.tls_maximum_protocol_version == 4


def test_endpoints_are_sorted_and_an_unserved_upstream_is_empty():
    """An upstream that nobody serves yet is there, without an address: 503, not a stalled proxy."""
    endpoints = snapshot_of("team-a/trainer", TRAINER).named(types.ENDPOINT)
    served = codec.unpack(endpoints["outbound/registry.shared/http"].any)
    hosts = [e.endpoint.address.socket_address.address for e in served.endpoints[0].lb_endpoints]
    assert hosts == ["10.0.0.1", "10.0.0.2"]
    assert not codec.unpack(endpoints["outbound/registry.shared/db"].any).endpoints


def test_an_expired_rule_is_gone_and_its_expiry_is_foreseen():
    """The server is told when to compile again."""
    end = next_expiry(model_of(), NOW)
    assert end is not None
    assert next_expiry(model_of(), end) is None
    before = snapshot_of("shared/registry", REGISTRY, now=end - timedelta(seconds=1))
    after = snapshot_of("shared/registry", REGISTRY, now=end)
    assert b"team-a/rows@" in before.named(types.LISTENER)["inbound/db"].any
    assert b"team-a/rows@" not in after.named(types.LISTENER)["inbound/db"].any


def test_no_log_has_common_config_beside_its_service():
    """Envoy does not start with both."""
    for manager in managers(snapshot_of("shared/registry", REGISTRY)).values():
        for log in manager.access_log:
            config = codec.unpack(codec.encode(log.typed_config))
            assert config.HasField("grpc_service") != config.HasField("common_config")
