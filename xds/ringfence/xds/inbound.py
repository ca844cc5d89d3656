"""What a workload serves: a listener a port that demands mutual TLS, judges by the rules, and hands on to loopback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ringfence.policy.model import Destination, Model, Port, Protocol, Workload
from ringfence.policy.plaintext import taken_at
from ringfence.policy.traffic import Traffic
from ringfence.xds import (
    codec,
    connections,
    decision,
    http,
    limits,
    plaintext,
    predicates,
    ranges,
    rbac,
    revoked,
    tcp,
    tokens,
)
from ringfence.xds.instance import Address, Instance
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import server_tls
from ringfence.xds.telemetry import Reporter
from ringfence.xds.types import EXTENSION_CONFIG

_LISTENER = "envoy.config.listener.v3.Listener"
_FILTER_STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"
_CLUSTER = "envoy.config.cluster.v3.Cluster"


def inbound(
    model: Model, workload: Workload, instance: Instance, reporter: Reporter, now: datetime
) -> Iterator[tuple[str, Resource]]:
    """The resources of every port that the workload serves and the proxy has an address for."""
    for port in workload.serves:
        address = instance.inbound.get(port.name)
        if address is None:
            continue
        where = f"inbound/{port.name}"
        rules = rbac.PortRules.at(model, Destination(workload.key, port.name), now)
        drained = revoked.drained_by(rules.revoked, model.tainted)
        taken = taken_at(port, now)
        plain: list[dict[str, Any]] = []
        yield _application(port, instance)
        if port.protocol.is_http:
            yield from rbac.request_policies(where, rules)
            yield http.one_route(where, application_name(port))
            traffic = model.traffic.get(Destination(workload.key, port.name))
            yield from limits.policies(where, traffic)
            own, unproven = plaintext.name(where), limits.in_plaintext(traffic)
            if taken is not None:
                yield from (*rbac.plaintext_policies(own, rules), *limits.policies(own, unproven))
                plain = [_plain_requests(where, unproven, reporter)]
            issuers = tokens.issuers_of(model, rules.every)
            verifying = [tokens.place(where)] if issuers else []
            filters = [_requests(where, traffic, reporter, verifying)]
            needs = [*http.needs(where), *limits.needs(where, traffic)]
            if taken is not None:
                needs += ((EXTENSION_CONFIG, name) for name in http.policy_names(own))
                needs += limits.needs(own, unproven)
            if issuers:
                yield tokens.verifier(where, issuers)
                needs.append((EXTENSION_CONFIG, tokens.filter_name(where)))
        else:
            log = reporter.connections(decision.POINT_TCP, where, ranged=port.last > 0)
            proxy = tcp.proxy(where, application_name(port), log, reporter.opened(where), wait_for_data=True)
            spared = port.name in instance.cuts
            place = rbac.discovered_connection_filters if spared else rbac.connection_filters
            filters = [*place(where, rules), proxy]
            needs = []
            if taken is not None:
                plain = _plain_connections(where, application_name(port), rules, reporter)
            if spared:
                yield rbac.connection_policy(where, rules)
                needs = [(EXTENSION_CONFIG, rbac.connection_name(where))]
                drained = revoked.drained_but_by(rbac.rules_of_connections(rules), rules.revoked, model.tainted)
        chain = _chain(where, workload, port, {"filters": filters, **drained})
        plain = [*connections.limited(plaintext.name(where), port.max_connections), *plain]
        served = plaintext.chains(where, chain, taken, plain)
        yield codec.resource(where, _listener(where, address, port, reporter, served), needs)


def _chain(where: str, workload: Workload, port: Port, chain: dict[str, Any]) -> dict[str, Any]:
    """The chain of the mesh: mutual TLS; *chain* has the filters, and what makes connections end when it changes."""
    if port.last:
        chain["filter_chain_match"] = ranges.only_declared(port)
    return chain | {
        "name": where,
        "filters": [*connections.limited(where, port.max_connections), _remembered(port), *chain["filters"]],
        "transport_socket": server_tls(workload.spiffe_id, _alpn(port.protocol)),
        "transport_socket_connect_timeout": timedelta(seconds=10),
    }


def _listener(where: str, address: Address, port: Port, reporter: Reporter, served: dict[str, Any]) -> Any:
    """A listener on *address*; *served* has its chains."""
    if port.last:
        served["listener_filters"] = [ranges.inspector()]
    return codec.build(
        _LISTENER,
        name=where,
        address=socket_address(address),
        # Envoy's default would let any process of the same user bind the port too, and take half of the callers.
        enable_reuse_port={"value": False},
        access_log=[reporter.handshakes(where, limited=port.max_connections > 0)],
        traffic_direction="INBOUND",
        stat_prefix=where,
        **served,
    )


def application_name(port: Port) -> str:
    """The cluster of the workload's own port."""
    return f"app/{port.name}"


def socket_address(address: Address) -> dict[str, Any]:
    """An address as Envoy's config has it."""
    where, number = address
    if not number:
        return {"pipe": {"path": where, "mode": 0o600}}
    return {"socket_address": {"address": where, "port_value": number}}


def _remembered(port: Port) -> dict[str, Any]:
    """The filter that remembers which certificate a connection was opened with, for rules that name one by serial.

    And at a range of ports, which of them is meant.
    """
    value = {
        "object_key": predicates.PEER_SERIAL,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_PEER_SERIAL%"}},
        "read_only": True,
    }
    values = [value, ranges.wanted()] if port.last else [value]
    return codec.extension("ringfence.peer.serial", _FILTER_STATE, on_downstream_tls_handshake=values)


def _requests(
    where: str, traffic: Traffic | None, reporter: Reporter, verifying: list[dict[str, Any]]
) -> dict[str, Any]:
    return http.manager(
        where,
        filters=[rbac.guard_filter(), *verifying, *http.policy_filters(where), *limits.places(where, traffic)],
        access_log=reporter.requests(decision.POINT_HTTP, where),
        tracing=reporter.tracing(where),
        # The workload learns who calls from one header, which a caller cannot forge.
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
        local_reply_config=http.tells_unsent(),
        upgrade_configs=http.UPGRADES,
    )


def _plain_requests(where: str, traffic: Traffic | None, reporter: Reporter) -> dict[str, Any]:
    """The same for callers without an identity: no certificate to guard, and no header that could name anybody."""
    own = plaintext.name(where)
    return http.manager(
        where,
        filters=[rbac.path_filter(), *http.policy_filters(own), *limits.places(own, traffic)],
        access_log=reporter.requests(decision.POINT_HTTP, where, plaintext=True),
        tracing=reporter.tracing(where),
        forward_client_cert_details="SANITIZE",
        local_reply_config=http.tells_unsent(),
        upgrade_configs=http.UPGRADES,
        stat_prefix=own,
    )


def _plain_connections(where: str, cluster: str, rules: rbac.PortRules, reporter: Reporter) -> list[dict[str, Any]]:
    own = plaintext.name(where)
    log = reporter.connections(decision.POINT_TCP, where, plaintext=True)
    return [*rbac.plaintext_filters(own, rules), tcp.proxy(own, cluster, log, wait_for_data=True)]


def _application(port: Port, instance: Instance) -> tuple[str, Resource]:
    name = application_name(port)
    if port.last:
        return ranges.application(name)
    if port.socket:
        address = {"pipe": {"path": f"{instance.socket_dir}/{port.socket}"}}
    else:
        address = socket_address(instance.application.get(port.name) or _loopback(port))
    cluster = codec.build(
        _CLUSTER,
        name=name,
        type="STATIC",
        connect_timeout=timedelta(seconds=5),
        load_assignment={
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        typed_extension_protocol_options=http.protocol_options(port.protocol) if port.protocol.is_http else {},
    )
    return codec.resource(name, cluster)


def _loopback(port: Port) -> Address:
    return "127.0.0.1", port.number


def _alpn(protocol: Protocol) -> tuple[str, ...]:
    if protocol.is_http2:
        return ("h2",)
    return ("h2", "http/1.1") if protocol is Protocol.HTTP else ()
