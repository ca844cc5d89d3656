"""What a workload may reach in the mesh: a loopback listener an upstream, then mutual TLS with exactly its identity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import NOBODY, Model, Workload
from ringfence.policy.scope import Upstream
from ringfence.xds import codec, decision, http, tcp
from ringfence.xds.endpoints import load_assignment
from ringfence.xds.inbound import socket_address
from ringfence.xds.instance import Address, Endpoint
from ringfence.xds.revoked import drained_by
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads, client_tls
from ringfence.xds.telemetry import Reporter
from ringfence.xds.types import ENDPOINT, ROUTE

Endpoints = Mapping[tuple[str, str], tuple[Endpoint, ...]]

_UNAVAILABLE = 503  # RFC 9110 section 15.6.4: no fault of the caller
# Only what never reached the other side is tried again: a request may not be safe to repeat.
_RETRIES = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": {"value": 3},
    "retry_back_off": {"base_interval": timedelta(milliseconds=25), "max_interval": timedelta(milliseconds=250)},
}


def outbound(
    model: Model, workload: Workload, upstream: Upstream, address: Address, endpoints: Endpoints, reporter: Reporter
) -> Iterator[tuple[str, Resource]]:
    """The resources of one upstream of the mesh, all under one name: cluster, endpoints, listener, routes.

    Towards a server whose identity is revoked there is no cluster: requests are told so, connections are closed.
    """
    where = outbound_name(upstream)
    peer = model.workloads[upstream.key].spiffe_id
    known = model.revoked.get(str(peer))
    gone = known is not None and known.whole
    chain = drained_by({str(peer): known} if known is not None else NOBODY, model.tainted)
    if not gone:
        yield _cluster(where, workload, upstream, peer)
        yield load_assignment(where, endpoints.get((upstream.key, upstream.port), ()))
    if upstream.protocol.is_http:
        told = http.refusal("revoked", _UNAVAILABLE, f"{peer} is revoked")
        yield http.routes(where, [told]) if gone else http.one_route(where, where, retry_policy=_RETRIES)
        log = reporter.failures(where)
        manager = http.manager(where, filters=[], access_log=log, tracing=reporter.tracing(where))
        yield loopback(where, address, [manager], [(ROUTE, where)], chain)
    else:
        log = reporter.connections(decision.POINT_OUTBOUND, where)
        yield loopback(where, address, [tcp.proxy(where, where, log, wait_for_data=False)], chain=chain)


def outbound_name(upstream: Upstream) -> str:
    """`outbound/registry.shared/http`, for everything that belongs to an upstream."""
    return f"outbound/{upstream.name}"


def loopback(
    where: str,
    address: Address,
    filters: list[dict[str, Any]],
    needs: Iterable[tuple[str, str]] = (),
    chain: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[str, Resource]:
    """A listener for the workload itself: plaintext, on an address that only this host can reach.

    *chain* is what its filter chain has beside the filters.
    """
    listener = codec.build(
        "envoy.config.listener.v3.Listener",
        name=where,
        address=socket_address(address),
        enable_reuse_port={"value": False},  # or another process of this user could bind it too
        filter_chains=[{"name": where, "filters": filters, **chain}],
        traffic_direction="OUTBOUND",
        stat_prefix=where,
    )
    return codec.resource(where, listener, needs)


def _cluster(where: str, workload: Workload, upstream: Upstream, peer: SpiffeId) -> tuple[str, Resource]:
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=where,
        type="EDS",
        eds_cluster_config={"eds_config": by_ads()},
        connect_timeout=timedelta(seconds=5),
        transport_socket=client_tls(workload.spiffe_id, peer),
        typed_extension_protocol_options=http.protocol_options(upstream.protocol) if upstream.protocol.is_http else {},
    )
    return codec.resource(where, cluster, [(ENDPOINT, where)])
