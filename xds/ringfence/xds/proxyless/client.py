"""What a gRPC client holds for each target of the mesh that it may dial: listener, routes, cluster and endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ringfence.policy.model import Destination, Model
from ringfence.policy.revoked import among, is_revoked
from ringfence.policy.scope import Upstream
from ringfence.xds import codec
from ringfence.xds.endpoints import load_assignment
from ringfence.xds.instance import Endpoint
from ringfence.xds.locality import Locality
from ringfence.xds.outbound import Endpoints, outbound_name
from ringfence.xds.proxyless.manager import manager
from ringfence.xds.proxyless.names import is_ip, target
from ringfence.xds.proxyless.tls import client_tls
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads
from ringfence.xds.types import ENDPOINT, ROUTE


def dialled(model: Model, upstream: Upstream, endpoints: Endpoints, home: Locality) -> Iterator[tuple[str, Resource]]:
    """The resources of one gRPC upstream of the mesh, for a client at *home*.

    Towards a server whose identity is revoked there is no cluster: the next call ends with UNAVAILABLE.
    """
    where, name = outbound_name(upstream), target(upstream)
    peer = model.workloads[upstream.key].identity
    gone = is_revoked(model.revoked, peer)
    listener = codec.build(
        "envoy.config.listener.v3.Listener",
        name=name,
        api_listener={"api_listener": manager(where)["typed_config"]},
    )
    yield codec.resource(name, listener, [(ROUTE, where)])
    # A route that forwards nothing is none that a client can take.
    yield _routes(where, {"non_forwarding_action": {}} if gone else {"route": {"cluster": where}})
    if not gone:
        yield _cluster(where, client_tls(peer, among(model.revoked, (peer,))))
        near = home if prefers_near(model, Destination(upstream.key, upstream.port)) else None
        yield _assignment(where, endpoints.get((upstream.key, upstream.port), ()), near)


def prefers_near(model: Model, port: Destination) -> bool:
    """Whether its Traffic document asks for endpoints of the caller's own zone first."""
    traffic = model.traffic.get(port)
    return traffic is not None and traffic.zones is not None and traffic.zones.prefer_local


def _routes(name: str, action: dict[str, Any]) -> tuple[str, Resource]:
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": ""}, **action}]}
    return codec.resource(
        name, codec.build("envoy.config.route.v3.RouteConfiguration", name=name, virtual_hosts=[host])
    )


def _cluster(name: str, transport_socket: dict[str, Any]) -> tuple[str, Resource]:
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": by_ads()},
        transport_socket=transport_socket,
    )
    return codec.resource(name, cluster, [(ENDPOINT, name)])


def _assignment(name: str, endpoints: Iterable[Endpoint], home: Locality | None) -> tuple[str, Resource]:
    """By distance from *home*, or all as one place where None. Of host names gRPC would take none of the rest."""
    usable = [endpoint for endpoint in endpoints if is_ip(endpoint.host)]
    if home is not None:
        return load_assignment(name, tuple(usable), home, weighted=True)
    here = {(endpoint.host, endpoint.port) for endpoint in usable}
    return load_assignment(name, tuple(Endpoint(*at) for at in here), weighted=True)
