"""What a workload may reach in the mesh: a loopback listener an upstream, then mutual TLS with exactly its identity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from ringfence.policy.identities import Identity, Ranks
from ringfence.policy.model import Destination, Model, Protocol, Workload
from ringfence.policy.revoked import among, is_revoked
from ringfence.policy.scope import Upstream
from ringfence.policy.traffic import Traffic
from ringfence.xds import codec, decision, http, ranges, tcp
from ringfence.xds.endpoints import load_assignment
from ringfence.xds.instance import Address, Endpoint, Instance
from ringfence.xds.locality import NOWHERE, Locality
from ringfence.xds.resilience import cluster_fields
from ringfence.xds.revoked import drained_by
from ringfence.xds.routing import upstream_routes
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads, client_tls
from ringfence.xds.telemetry import Reporter
from ringfence.xds.types import ENDPOINT, ROUTE

Endpoints = Mapping[tuple[str, str], tuple[Endpoint, ...]]

_UNAVAILABLE = 503  # RFC 9110 section 15.6.4: no fault of the caller


def outbound(
    model: Model, workload: Workload, upstream: Upstream, instance: Instance, endpoints: Endpoints, reporter: Reporter
) -> Iterator[tuple[str, Resource]]:
    """The resources of one upstream of the mesh, all under one name: cluster, endpoints, listener, routes.

    Clusters of other ports that its routes lead to come from `towards`, once for all upstreams.
    Towards a server whose identity is revoked there is no cluster: requests are told so, connections are closed.
    """
    where, address = outbound_name(upstream), instance.upstream[upstream.name]
    peer = _server(model, upstream, instance)
    gone = is_revoked(model.revoked, peer)
    chain = drained_by(among(model.revoked, (peer,)), model.tainted)
    if not gone:
        port_of = Destination(upstream.key, upstream.port)
        yield from towards(model, workload, port_of, endpoints, instance.locality, peer)
    if upstream.protocol.is_http:
        told = http.refusal("revoked", _UNAVAILABLE, f"{peer} is revoked")
        traffic = model.traffic.get(Destination(upstream.key, upstream.port))
        yield http.routes(where, [told]) if gone else upstream_routes(where, where, traffic, port_cluster)
        log = reporter.failures(where)
        tracing = reporter.tracing(where)
        manager = http.manager(where, filters=[], access_log=log, tracing=tracing, upgrade_configs=http.UPGRADES)
        yield loopback(where, address, [manager], [(ROUTE, where)], chain)
    else:
        log = reporter.connections(decision.POINT_OUTBOUND, where)
        proxy = tcp.proxy(where, where, log, wait_for_data=False)
        port = model.workloads[upstream.key].port(upstream.port)
        if port is not None and port.last and not address[1]:
            yield loopback(where, address, [ranges.dialled(), proxy], chain=chain, listener_filters=[ranges.told()])
        elif port is not None and port.last:
            first = (address[0], port.number)
            yield loopback(
                where, first, [ranges.dialled(), proxy], chain=chain, more=ranges.more_addresses(first[0], port)
            )
        else:
            yield loopback(where, address, [proxy], chain=chain)


def _server(model: Model, upstream: Upstream, instance: Instance) -> Identity:
    """Who has to be there: the workload, or of a job the one rank that the caller's launcher means, if it means one."""
    found, rank = model.workloads[upstream.key].identity, instance.ranks.get(upstream.name)
    return found.rank(rank) if isinstance(found, Ranks) and rank is not None else found


def towards(
    model: Model,
    workload: Workload,
    port: Destination,
    endpoints: Endpoints,
    home: Locality,
    peer: Identity | None = None,
) -> Iterator[tuple[str, Resource]]:
    """The cluster of a port of the mesh, and its endpoints, by distance from *home* where near ones are preferred.

    *peer* is who is spoken to there, where that is not everybody who may be there.
    """
    where, served = port_cluster(port), model.workloads[port.key]
    spoken = served.port(port.port)
    if spoken is None:
        raise KeyError(port)  # the loader resolves every destination: a model cannot hold this
    traffic = model.traffic.get(port)
    peer = peer or served.identity
    tls = client_tls(workload.spiffe_id, peer, among(model.revoked, (peer,)))
    yield _cluster(where, tls, spoken.protocol, traffic)
    prefers = traffic is not None and traffic.zones is not None and traffic.zones.prefer_local
    yield load_assignment(where, endpoints.get((port.key, port.port), ()), home if prefers else NOWHERE)


def outbound_name(upstream: Upstream) -> str:
    """`outbound/registry.shared/http`, for everything that belongs to an upstream."""
    return f"outbound/{upstream.name}"


def port_cluster(port: Destination) -> str:
    """The name of the cluster of a port of the mesh: that of its upstream, where there is one."""
    namespace, _, name = port.key.partition("/")
    return f"outbound/{name}.{namespace}/{port.port}"


def loopback(
    where: str,
    address: Address,
    filters: list[dict[str, Any]],
    needs: Iterable[tuple[str, str]] = (),
    chain: Mapping[str, Any] = MappingProxyType({}),
    *,
    listener_filters: Iterable[dict[str, Any]] = (),
    more: Iterable[dict[str, Any]] = (),
    others: Iterable[dict[str, Any]] = (),
    chosen: Any = None,
) -> tuple[str, Resource]:
    """A listener for the workload itself: plaintext, on an address that only this host can reach.

    *chain* is what its filter chain has beside the filters, *listener_filters* what looks at a connection before.
    *more* are further addresses of the same, *others* further chains, and *chosen* the matcher that picks one.
    """
    listener = codec.build(
        "envoy.config.listener.v3.Listener",
        name=where,
        address=codec.socket_address(address),
        additional_addresses=list(more),
        listener_filters=list(listener_filters),
        filter_chains=[{"name": where, "filters": filters, **chain}, *others],
        filter_chain_matcher=chosen,
        stat_prefix=where,
    )
    listener.MergeFrom(_outbound())
    return codec.resource(where, listener, needs)


@cache
def _outbound() -> Any:
    """What every such listener has; or another process of this user could bind its port too."""
    return codec.build(
        "envoy.config.listener.v3.Listener", enable_reuse_port={"value": False}, traffic_direction="OUTBOUND"
    )


def _cluster(
    where: str, transport_socket: dict[str, Any], protocol: Protocol, traffic: Traffic | None
) -> tuple[str, Resource]:
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=where,
        type="EDS",
        eds_cluster_config={"eds_config": by_ads()},
        transport_socket=transport_socket,
        typed_extension_protocol_options=http.protocol_options(protocol) if protocol.is_http else {},
        **cluster_fields(traffic, protocol),
    )
    return codec.resource(where, cluster, [(ENDPOINT, where)])
