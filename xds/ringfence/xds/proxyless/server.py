"""What a gRPC server holds: a listener for each address that it may have bound, and routes with the port's rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ringfence.policy.model import Destination, Model, Protocol, Workload
from ringfence.xds import codec, rbac
from ringfence.xds.instance import Address, Instance
from ringfence.xds.proxyless.manager import manager
from ringfence.xds.proxyless.names import bound, listener_name
from ringfence.xds.proxyless.rbac import filters, overrides
from ringfence.xds.proxyless.tls import server_tls
from ringfence.xds.revoked import mark
from ringfence.xds.snapshot import Resource
from ringfence.xds.types import ROUTE


def served(model: Model, workload: Workload, instance: Instance, now: datetime) -> Iterator[tuple[str, Resource]]:
    """The resources of every gRPC port that the workload serves and the process has an address for."""
    for port in workload.serves:
        address = instance.inbound.get(port.name)
        if address is None or port.protocol is not Protocol.GRPC:
            continue
        rules = rbac.PortRules.at(model, Destination(workload.key, port.name), now)
        # gRPC drains the connections of a listener that changed; only the name of its routes does, when somebody is
        # revoked: what is open ends within the server's grace, and anything else changes no listener.
        routes = "/".join(filter(None, ("inbound", port.name, mark(rules.revoked, model.tainted))))
        yield _routes(routes, rules, now)
        for at in bound(address):
            yield _listener(at, routes)


def _listener(at: Address, routes: str) -> tuple[str, Resource]:
    name = listener_name(at)
    listener = codec.build(
        "envoy.config.listener.v3.Listener",
        name=name,
        address=codec.socket_address(at),  # gRPC compares it with what it has bound
        filter_chains=[{"filters": [manager(routes, filters())], "transport_socket": server_tls()}],
        traffic_direction="INBOUND",
    )
    return codec.resource(name, listener, [(ROUTE, routes)])


def _routes(name: str, rules: rbac.PortRules, now: datetime) -> tuple[str, Resource]:
    route = {"match": {"prefix": ""}, "non_forwarding_action": {}, "typed_per_filter_config": overrides(rules, now)}
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    return codec.resource(
        name, codec.build("envoy.config.route.v3.RouteConfiguration", name=name, virtual_hosts=[host])
    )
