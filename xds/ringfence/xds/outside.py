"""Hosts outside as clusters: where they are, how they prove themselves, and where no answer of DNS may lead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.forbidden import address_of
from ringfence.policy.resolve import found_by_dns, host_of
from ringfence.policy.traffic import Traffic
from ringfence.xds import codec, dynamic, http
from ringfence.xds.addresses import forbidden_to, upstream_filters
from ringfence.xds.resilience import cluster_fields
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import outside_tls

_CONNECT_TIMEOUT = timedelta(seconds=10)  # a host outside may be far away


def is_looked_up(external: External, port: ExternalPort) -> bool:
    """Whether each connection to that port has the host's name looked up: DNS answers for it, and no request is seen.

    Envoy has filters between the choice of an address and a request, and none before a connection: what must lead
    nowhere is kept out of the answer instead.
    """
    return not port.protocol.is_http and found_by_dns(external)


def look_up(external: External, port: ExternalPort) -> list[dict[str, Any]]:
    """The network filters that do it; nothing where the address is known."""
    if not is_looked_up(external, port):
        return []
    host, number = place_of(external, port)
    return [dynamic.asks_for(host), dynamic.name_filter(number, private=True)]


def outside_cluster(
    name: str,
    external: External,
    port: ExternalPort,
    *,
    tls: bool,
    roots: str,
    traffic: Traffic | None,
    looked_up: bool = False,
) -> tuple[str, Resource]:
    """The cluster of one port of a host outside; *roots* is the file of the system's trust store.

    A host that DNS answers for is judged again by the address of the connection, before a byte of a request is sent:
    a name that anybody may answer for (DNS rebinding) must lead neither to a metadata service nor to the proxy's host.
    Or (*looked_up*) the cluster goes to what the filters of `look_up` have found.
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
    if looked_up:
        fields |= dynamic.leads_to_what_is_found(private=True)
    else:
        named_by_dns = address_of(address) is None
        judged = upstream_filters(forbidden_to(external)) if named_by_dns else []
        if port.protocol.is_http or judged:
            fields["typed_extension_protocol_options"] = http.protocol_options(port.protocol, judged)
        endpoint = {"address": {"socket_address": {"address": address, "port_value": number}}}
        fields["type"] = "STRICT_DNS" if named_by_dns else "STATIC"
        fields["load_assignment"] = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}
    return codec.resource(name, codec.build("envoy.config.cluster.v3.Cluster", name=name, **fields))


def place_of(external: External, port: ExternalPort) -> tuple[str, int]:
    """Where to connect: the address that the document gives, with its own port if it has one, else the host."""
    if not external.address:
        return external.host, port.number
    host = host_of(external.address)
    _, _, number = external.address.rpartition(":")
    has_port = external.address not in {host, f"[{host}]"}
    return host, int(number) if has_port else port.number
