"""Envoy's bootstrap: two static clusters, everything else from the server by ADS and from the agent by SDS.

What it holds is in config.bootstrap.v3.Bootstrap; no secret is among it.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from ringfence.broker.run.plan import ProxyPlan
from ringfence.certs.spiffe_id import SERVER_NAME

SERVER_CLUSTER = "ringfence_server"
AGENT_CLUSTER = "ringfence_agent"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MAX_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"


def bootstrap(plan: ProxyPlan, *, admin_socket: str, state_of_the_world: bool = False) -> str:
    """The bootstrap of *plan*'s proxy as JSON."""
    api = "GRPC" if state_of_the_world else "DELTA_GRPC"
    return json.dumps(
        {
            "node": {
                "id": plan.node_id,
                "cluster": plan.spiffe_id,
                "metadata": {"ringfence": plan.metadata},
                **({"locality": where} if (where := plan.launch.locality.fields()) else {}),
            },
            "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
            "static_resources": {"clusters": [_server(plan), _agent(plan)]},
            "dynamic_resources": {
                "ads_config": _grpc(SERVER_CLUSTER, api),
                "lds_config": _FROM_ADS,
                "cds_config": _FROM_ADS,
            },
            "overload_manager": _limits(),
            # Histograms and per-endpoint figures of the control plane's own clusters are nobody's concern.
            "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "runtime."}]}}},
        },
        indent=1,
        sort_keys=True,
    )


# A secret may be held for 30 s by the agent, a listener for as long as the server is away: never start without.
_FROM_ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _grpc(cluster: str, api: str) -> dict[str, Any]:
    service = {
        "cluster_name": cluster,
        "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "5s"}},
    }
    return {
        "api_type": api,
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": service}],
    }


def _secret(name: str) -> dict[str, Any]:
    source = {
        "api_config_source": _grpc(AGENT_CLUSTER, "GRPC"),
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
    }
    return {"name": name, "sds_config": source}


def _server(plan: ProxyPlan) -> dict[str, Any]:
    servers = [_host_and_port(server) for server in (plan.launch.server, *plan.launch.others)]
    addresses = [{"socket_address": {"address": host, "port_value": port}} for host, port in servers]
    cluster = _cluster(SERVER_CLUSTER, *addresses, static=all(_is_ip(host) for host, _ in servers))
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": _mutual_tls(plan)}
    return cluster | {"transport_socket": socket} | (_FAIL_OVER if plan.launch.others else {})


# One server of several has all of a proxy's streams, as it has its agent's, until a connection to it fails; it is
# tried again after a few seconds. With none left, all are tried (Envoy: priority levels, outlier detection, panic).
_FAIL_OVER: dict[str, Any] = {
    "outlier_detection": {
        "consecutive_5xx": 1,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 100,
    },
}


def _host_and_port(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _mutual_tls(plan: ProxyPlan) -> dict[str, Any]:
    """Our own SVID, and a peer that proves exactly the server's SPIFFE ID within the bundle."""
    exact = {"san_type": "URI", "matcher": {"exact": plan.launch.server_id}}
    return {
        "@type": _TLS,
        "sni": SERVER_NAME,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [_secret(plan.spiffe_id)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [exact]},
                "validation_context_sds_secret_config": _secret("ALL"),
            },
        },
    }


def _agent(plan: ProxyPlan) -> dict[str, Any]:
    return _cluster(AGENT_CLUSTER, {"pipe": {"path": plan.launch.workload_socket}}, static=True)


def _cluster(name: str, *addresses: dict[str, Any], static: bool) -> dict[str, Any]:
    keepalive = {"interval": "30s", "timeout": "10s"}
    http2 = {"explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}}}
    return {
        "name": name,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {_HTTP: {"@type": f"type.googleapis.com/{_HTTP}", **http2}},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address}}], **({"priority": priority} if priority else {})}
                for priority, address in enumerate(addresses)
            ],
        },
    }


def _limits() -> dict[str, Any]:
    kind = (
        "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    )
    config = {"@type": kind, "max_active_downstream_connections": 10000}
    return {"resource_monitors": [{"name": _MAX_CONNECTIONS, "typed_config": config}]}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
