"""What a gRPC client holds for each target of the mesh that it may dial: listener, routes, cluster and endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Model
from ringfence.policy.scope import Upstream
from ringfence.xds import codec
from ringfence.xds.inbound import socket_address
from ringfence.xds.instance import Endpoint
from ringfence.xds.outbound import Endpoints, outbound_name
from ringfence.xds.proxyless.manager import manager
from ringfence.xds.proxyless.names import is_ip, target
from ringfence.xds.proxyless.tls import client_tls
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads
from ringfence.xds.types import ENDPOINT, ROUTE

_ONE = {"value": 1}


def dialled(model: Model, upstream: Upstream, endpoints: Endpoints) -> Iterator[tuple[str, Resource]]:
    """The resources of one gRPC upstream of the mesh.

    Towards a server whose identity is revoked there is no cluster: the next call ends with UNAVAILABLE.
    """
    where, name = outbound_name(upstream), target(upstream)
    peer = model.workloads[upstream.key].spiffe_id
    known = model.revoked.get(str(peer))
    gone = known is not None and known.whole
    listener = codec.build(
        "envoy.config.listener.v3.Listener",
        name=name,
        api_listener={"api_listener": manager(where)["typed_config"]},
    )
    yield codec.resource(name, listener, [(ROUTE, where)])
    # A route that forwards nothing is none that a client can take.
    yield _routes(where, {"non_forwarding_action": {}} if gone else {"route": {"cluster": where}})
    if not gone:
        yield _cluster(where, peer)
        yield _assignment(where, endpoints.get((upstream.key, upstream.port), ()))


def _routes(name: str, action: dict[str, Any]) -> tuple[str, Resource]:
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": ""}, **action}]}
    return codec.resource(
        name, codec.build("envoy.config.route.v3.RouteConfiguration", name=name, virtual_hosts=[host])
    )


def _cluster(name: str, peer: SpiffeId) -> tuple[str, Resource]:
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": by_ads()},
        transport_socket=client_tls(peer),
    )
    return codec.resource(name, cluster, [(ENDPOINT, name)])


def _assignment(name: str, endpoints: Iterable[Endpoint]) -> tuple[str, Resource]:
    """One locality of weight 1, or none: gRPC passes over a locality without a weight."""
    listed = sorted({(e.host, e.port) for e in endpoints if is_ip(e.host)})
    hosts = [{"endpoint": {"address": socket_address(at)}} for at in listed]
    everywhere = {"locality": {}, "load_balancing_weight": _ONE, "lb_endpoints": hosts}
    assignment = codec.build(
        "envoy.config.endpoint.v3.ClusterLoadAssignment", cluster_name=name, endpoints=[everywhere] if hosts else []
    )
    return codec.resource(name, assignment)
