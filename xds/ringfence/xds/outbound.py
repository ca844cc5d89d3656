"""What a workload may reach in the mesh: a loopback listener an upstream, then mutual TLS with exactly its identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from ringfence.policy.model import Model, Workload
from ringfence.policy.scope import Upstream
from ringfence.xds import codec, decision, http, tcp
from ringfence.xds.endpoints import load_assignment
from ringfence.xds.inbound import socket_address
from ringfence.xds.instance import Address, Endpoint
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads, client_tls
from ringfence.xds.telemetry import Reporter
from ringfence.xds.types import ENDPOINT, ROUTE

Endpoints = Mapping[tuple[str, str], tuple[Endpoint, ...]]

# Only what never reached the other side is tried again: a request may not be safe to repeat.
_RETRIES = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": {"value": 3},
    "retry_back_off": {"base_interval": timedelta(milliseconds=25), "max_interval": timedelta(milliseconds=250)},
}


def outbound(
    model: Model, workload: Workload, upstream: Upstream, address: Address, endpoints: Endpoints, reporter: Reporter
) -> Iterator[tuple[str, Resource]]:
    """The resources of one upstream of the mesh, all under one name: cluster, endpoints, listener, routes."""
    where = outbound_name(upstream)
    yield _cluster(where, model, workload, upstream)
    yield load_assignment(where, endpoints.get((upstream.key, upstream.port), ()))
    if upstream.protocol.is_http:
        yield http.one_route(where, where, retry_policy=_RETRIES)
        filters = [
            http.manager(where, filters=[], access_log=reporter.failures(where), tracing=reporter.tracing(where))
        ]
        yield loopback(where, address, filters, [(ROUTE, where)])
    else:
        log = reporter.connections(decision.POINT_OUTBOUND, where)
        yield loopback(where, address, [tcp.proxy(where, where, log, wait_for_data=False)])


def outbound_name(upstream: Upstream) -> str:
    """`outbound/registry.shared/http`, for everything that belongs to an upstream."""
    return f"outbound/{upstream.name}"


def loopback(
    where: str, address: Address, filters: list[dict[str, Any]], needs: list[tuple[str, str]] | None = None
) -> tuple[str, Resource]:
    """A listener for the workload itself: plaintext, on an address that only this host can reach."""
    listener = codec.build(
        "envoy.config.listener.v3.Listener",
        name=where,
        address=socket_address(address),
        enable_reuse_port={"value": False},  # or another process of this user could bind it too
        filter_chains=[{"name": where, "filters": filters}],
        traffic_direction="OUTBOUND",
        stat_prefix=where,
    )
    return codec.resource(where, listener, needs or ())


def _cluster(where: str, model: Model, workload: Workload, upstream: Upstream) -> tuple[str, Resource]:
    peer = model.workloads[upstream.key].spiffe_id
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
