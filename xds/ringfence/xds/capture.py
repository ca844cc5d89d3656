"""A proxy whose workload lives in a network namespace of its own: everything that leaves there ends at the proxy.

The proxy itself stays outside. Only its sockets for the workload are opened within (Envoy: `network_namespace_filepath`
of config.core.v3.SocketAddress), so that nothing of its own can be captured.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from ringfence.policy.forbidden import METADATA_NETWORKS
from ringfence.policy.model import DEFAULT_DENY, FORBIDDEN_ADDRESS, named
from ringfence.xds import codec, tcp
from ringfence.xds.instance import Address, Capture, Instance
from ringfence.xds.snapshot import Resource
from ringfence.xds.telemetry import Reporter
from ringfence.xds.types import CLUSTER, LISTENER
from ringfence.xds.virtual import Place

CAPTURE, DNS = "capture", "capture/dns"
NOWHERE = "capture/nowhere"  # no cluster has this name: Envoy closes what is to go there
_LISTENER = "envoy.config.listener.v3.Listener"
_DNS_FILTER = "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig"
_APPLICATION, _FOR_THE_MESH = "app/", "inbound/"
_ANSWER_TTL = timedelta(seconds=30)  # of a virtual address, which does not change as long as the name is known


def dialled(instance: Instance, places: Mapping[str, Place]) -> Instance:
    """*instance* with every upstream in *places*: what is dialled by name needs no port of its own beforehand."""
    virtual = {name: (place.address, place.numbers[0]) for name, place in places.items()}
    return replace(instance, upstream=virtual | dict(instance.upstream))


def captured(
    resources: Iterable[tuple[str, Resource]],
    capture: Capture,
    places: Mapping[str, Place],
    bound: Container[str],
    reporter: Reporter,
) -> Iterator[tuple[str, Resource]]:
    """*resources* with the workload's side in its namespace, what it may dial by name, and the end of all else.

    *bound* are the upstreams for which the launcher has chosen a port on loopback too.
    """
    for url, resource in resources:
        if url == LISTENER:
            yield from _listeners(resource, capture, places, bound)
        elif url == CLUSTER and resource.name.startswith(_APPLICATION):
            yield _application(resource, capture)
        else:
            yield url, resource
    yield codec.resource(CAPTURE, _catch_all(capture, places.values(), reporter))
    yield codec.resource(DNS, _names(capture, places.values(), reporter))


def _listeners(
    resource: Resource, capture: Capture, places: Mapping[str, Place], bound: Container[str]
) -> Iterator[tuple[str, Resource]]:
    """A listener for the workload within its namespace, and its twin under the name that is dialled.

    The twin binds nothing: the catch-all hands it the connections that were on their way to its address.
    """
    if resource.name.startswith(_FOR_THE_MESH):
        yield LISTENER, resource
        return
    listener = codec.unpack(resource.any)
    for address in (listener.address, *(more.address for more in listener.additional_addresses)):
        if address.HasField("socket_address"):
            address.socket_address.network_namespace_filepath = capture.netns
    upstream = resource.name.removeprefix("outbound/")
    if upstream in bound or upstream not in places:
        yield codec.resource(resource.name, listener, resource.needs)
    if place := places.get(upstream):
        yield codec.resource(f"{CAPTURE}/{upstream}", _twin(listener, upstream, place, capture), resource.needs)


def _twin(listener: Any, upstream: str, place: Place, capture: Capture) -> Any:
    first, *others = (_within(capture, (place.address, number)) for number in place.numbers)
    twin = type(listener).FromString(codec.encode(listener))
    for field in ("address", "additional_addresses"):
        twin.ClearField(field)
    twin.MergeFrom(
        codec.build(
            _LISTENER,
            name=f"{CAPTURE}/{upstream}",
            address=first,
            additional_addresses=[{"address": other} for other in others],
            bind_to_port={"value": False},
        )
    )
    return twin


def _application(resource: Resource, capture: Capture) -> tuple[str, Resource]:
    """The workload's own port, connected to from within its namespace; a Unix socket is there for both sides."""
    cluster = codec.unpack(resource.any)
    source = {"address": "127.0.0.1", "port_value": 0, "network_namespace_filepath": capture.netns}
    for endpoints in cluster.load_assignment.endpoints:
        if any(one.endpoint.address.HasField("pipe") for one in endpoints.lb_endpoints):
            return CLUSTER, resource
    cluster.MergeFrom(codec.build("envoy.config.cluster.v3.Cluster", upstream_bind_config={"source_address": source}))
    return codec.resource(resource.name, cluster, resource.needs)


def _catch_all(capture: Capture, places: Iterable[Place], reporter: Reporter) -> Any:
    """Where every captured connection arrives. What no twin takes was going to an address that nothing declares.

    No listener filter waits for bytes here: a client that waits for its server to speak is refused at once too.
    """
    denied, forbidden = named(DEFAULT_DENY), named(FORBIDDEN_ADDRESS)
    chains = [_refusing(forbidden, reporter.refused(CAPTURE, forbidden), METADATA_NETWORKS)]
    # Another port of a name that is known is recorded by the name.
    for name, address in _known(places):
        log = reporter.refused(CAPTURE, denied, f"{name}:%DOWNSTREAM_LOCAL_PORT%")
        chains.append(_refusing(name, log, [ip_network(address)]))
    return codec.build(
        _LISTENER,
        name=CAPTURE,
        address=_within(capture, capture.listen),
        use_original_dst={"value": True},
        enable_reuse_port={"value": False},
        filter_chains=chains,
        default_filter_chain=_refusing(denied, reporter.refused(CAPTURE, denied)),
        traffic_direction="OUTBOUND",
        stat_prefix=CAPTURE,
    )


def _refusing(name: str, log: Any, networks: Iterable[IPv4Network | IPv6Network] = ()) -> dict[str, Any]:
    """A filter chain for connections that were on their way to *networks*, or to any."""
    ranges = [
        {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}
        for network in networks
    ]
    match = {"filter_chain_match": {"prefix_ranges": ranges}} if ranges else {}
    return {"name": name, "filters": [tcp.proxy(CAPTURE, NOWHERE, log, wait_for_data=False)], **match}


def _known(places: Iterable[Place]) -> list[tuple[str, str]]:
    return sorted({(place.name, place.address) for place in places if place.name})


def _names(capture: Capture, places: Iterable[Place], reporter: Reporter) -> Any:
    """Answers for the names in *places* and for no other: there is no resolver behind it."""
    table = [
        {"name": name, "endpoint": {"address_list": {"address": [address]}}, "answer_ttl": _ANSWER_TTL}
        for name, address in _known(places)
    ]
    config = {
        "stat_prefix": "capture",
        "server_config": {"inline_dns_table": {"virtual_domains": table}},
        "access_log": [reporter.questions(DNS, named(DEFAULT_DENY))],
    }
    return codec.build(
        _LISTENER,
        name=DNS,
        address=_within(capture, capture.dns, protocol="UDP"),
        listener_filters=[codec.extension("envoy.filters.udp.dns_filter", _DNS_FILTER, **config)],
        traffic_direction="OUTBOUND",
        stat_prefix=DNS,
    )


def _within(capture: Capture, address: Address, protocol: str = "TCP") -> dict[str, Any]:
    host, port = address
    where = {"address": host, "port_value": port, "protocol": protocol, "network_namespace_filepath": capture.netns}
    return {"socket_address": where}
