"""Hosts outside as clusters: where they are, how they prove themselves, and where no answer of DNS may lead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ringfence.policy.forbidden import LOOPBACK_NETWORKS, METADATA_NETWORKS, address_of
from ringfence.policy.model import FORBIDDEN_ADDRESS, External, ExternalPort, named
from ringfence.policy.resolve import host_of
from ringfence.policy.traffic import Traffic
from ringfence.xds import codec, http
from ringfence.xds.resilience import cluster_fields
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import outside_tls

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_CODEC = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_UPSTREAM_IP = "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
_CONNECT_TIMEOUT = timedelta(seconds=10)  # a host outside may be far away
_LOCALHOST = "localhost"


def outside_cluster(
    name: str, external: External, port: ExternalPort, *, tls: bool, roots: str, traffic: Traffic | None
) -> tuple[str, Resource]:
    """The cluster of one port of a host outside; *roots* is the file of the system's trust store.

    A host that DNS answers for is judged again by the address of the connection, before a byte of a request is sent:
    a name that anybody may answer for (DNS rebinding) must lead neither to a metadata service nor to the proxy's host.
    """
    address, number = place_of(external, port)
    pem = {"inline_string": external.ca_pem} if external.ca_pem else {"filename": roots}
    if traffic is not None and tls is not port.tls:
        traffic = replace(traffic, health_check=None)  # a tunnel carries the caller's own TLS, which a check has not
    fields: dict[str, Any] = cluster_fields(traffic, port.protocol)
    if traffic is None or traffic.connect_timeout is None:
        fields["connect_timeout"] = _CONNECT_TIMEOUT
    if tls:
        is_address = address_of(external.host) is not None
        fields["transport_socket"] = outside_tls(external.host, is_address=is_address, roots=pem)
    named_by_dns = address_of(address) is None
    judged = _address_filters(external) if named_by_dns else []
    if port.protocol.is_http or judged:
        fields["typed_extension_protocol_options"] = http.protocol_options(port.protocol, judged)
    endpoint = {"address": {"socket_address": {"address": address, "port_value": number}}}
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="STRICT_DNS" if named_by_dns else "STATIC",
        load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        **fields,
    )
    return codec.resource(name, cluster)


def place_of(external: External, port: ExternalPort) -> tuple[str, int]:
    """Where to connect: the address that the document gives, with its own port if it has one, else the host."""
    if not external.address:
        return external.host, port.number
    host = host_of(external.address)
    _, _, number = external.address.rpartition(":")
    has_port = external.address not in {host, f"[{host}]"}
    return host, int(number) if has_port else port.number


def _address_filters(external: External) -> list[dict[str, Any]]:
    """Filters between the choice of an address and the request (Envoy 1.39's upstream RBAC), then the codec."""
    loopback = () if host_of(external.address or external.host) == _LOCALHOST else LOOPBACK_NETWORKS
    policy = {
        "permissions": [_leads_to(network) for network in (*METADATA_NETWORKS, *loopback)],
        "principals": [{"any": True}],
    }
    rules = {"action": "DENY", "policies": {named(FORBIDDEN_ADDRESS): policy}}
    judge = codec.extension("envoy.filters.http.upstream_rbac", _RBAC, rules=rules, rules_stat_prefix="address_")
    return [judge, codec.extension("envoy.filters.http.upstream_codec", _CODEC)]


def _leads_to(network: IPv4Network | IPv6Network) -> dict[str, Any]:
    cidr = {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}
    matcher = codec.extension("envoy.rbac.matchers.upstream_ip_port", _UPSTREAM_IP, upstream_ip=cidr)
    return {"matcher": matcher}
