"""What a workload serves: a listener a port that demands mutual TLS, judges by the rules, and hands on to loopback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ringfence.policy.model import Destination, Model, Port, Protocol, Workload
from ringfence.policy.plaintext import Plaintext, taken_at
from ringfence.policy.traffic import Traffic
from ringfence.xds import (
    application,
    codec,
    connection_rbac,
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
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import server_tls
from ringfence.xds.telemetry import Reporter
from ringfence.xds.types import EXTENSION_CONFIG

_LISTENER = "envoy.config.listener.v3.Listener"
_FILTER_STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"


@dataclass(frozen=True, slots=True)
class _Place:
    """One port at one proxy."""

    workload: Workload
    port: Port
    instance: Instance
    reporter: Reporter

    @property
    def where(self) -> str:
        """What its listener and chain are called."""
        return f"inbound/{self.port.name}"


def inbound(
    model: Model, workload: Workload, instance: Instance, reporter: Reporter, now: datetime
) -> Iterator[tuple[str, Resource]]:
    """The resources of every port that the workload serves and the proxy has an address for."""
    for port in workload.serves:
        if port.name not in instance.inbound:
            continue
        at = _Place(workload, port, instance, reporter)
        rules = rbac.PortRules.at(model, Destination(workload.key, port.name), now)
        served = _requests_at if port.protocol.is_http else _connections_at
        yield from served(at, model, rules, taken_at(port, now))


def _requests_at(
    at: _Place, model: Model, rules: rbac.PortRules, taken: Plaintext | None
) -> Iterator[tuple[str, Resource]]:
    """Rules and limits by ECDS, so that a change of them drains nothing, and around them what they do not change."""
    own = plaintext.name(at.where)
    traffic = model.traffic.get(Destination(at.workload.key, at.port.name))
    issuers = tokens.issuers_of(model, rules.every)
    yield from rbac.request_policies(at.where, rules)
    yield from limits.policies(at.where, traffic)
    if taken is not None:
        yield from (*rbac.plaintext_policies(own, rules), *limits.policies(own, limits.in_plaintext(traffic)))
    if issuers:
        yield tokens.verifier(at.where, issuers)
    around = _Around(traffic, taken, bool(issuers), revoked.drained_by(rules.revoked, model.tainted))
    yield from at.instance.made.again(at.where, (at.workload, at.port, around), lambda: around.resources(at))


@dataclass(frozen=True, slots=True)
class _Around:
    """What a listener of requests is made of beside its place: no rule is among it."""

    traffic: Traffic | None
    taken: Plaintext | None
    is_verified: bool  # whether rules ask for tokens
    drained: dict[str, Any]

    def resources(self, at: _Place) -> list[tuple[str, Resource]]:
        """The listener, the one route, and the cluster of the workload's own port."""
        where, own, unproven = at.where, plaintext.name(at.where), limits.in_plaintext(self.traffic)
        needs = [*http.needs(where), *limits.needs(where, self.traffic)]
        plain = []
        if self.taken is not None:
            plain = [_plain_requests(where, unproven, at.reporter)]
            needs += [*((EXTENSION_CONFIG, name) for name in http.policy_names(own)), *limits.needs(own, unproven)]
        if self.is_verified:
            needs.append((EXTENSION_CONFIG, tokens.filter_name(where)))
        verifying = [tokens.place(where)] if self.is_verified else []
        chain = _chain(at, {"filters": [_requests(where, self.traffic, at.reporter, verifying)], **self.drained})
        return [
            application.cluster(at.port, at.instance),
            http.one_route(where, application.name(at.port)),
            _listener(at, _chains(at, chain, self.taken, plain), needs),
        ]


def _connections_at(
    at: _Place, model: Model, rules: rbac.PortRules, taken: Plaintext | None
) -> Iterator[tuple[str, Resource]]:
    """Rules in the chain itself, so that a change of them ends what is open; where the agent does that, by ECDS."""
    where, to = at.where, application.name(at.port)
    drained = revoked.drained_by(rules.revoked, model.tainted)
    needs: list[tuple[str, str]] = []
    spared = at.port.name in at.instance.cuts
    if spared:
        yield connection_rbac.policy(where, rules)
        needs = [(EXTENSION_CONFIG, connection_rbac.name(where))]
        drained = revoked.drained_but_by(connection_rbac.rules_of(rules), rules.revoked, model.tainted)
    log = at.reporter.connections(decision.POINT_TCP, where, ranged=at.port.last > 0)
    walled = at.port.last > 0 and at.port.name in at.instance.application
    more = ranges.telling() if walled else {}
    proxy = tcp.proxy(where, to, log, at.reporter.opened(where), wait_for_data=True, **more)
    place = connection_rbac.discovered_filters if spared else connection_rbac.filters
    chain = _chain(at, {"filters": [*place(where, rules), proxy], **drained})
    plain = _plain_connections(where, to, rules, at.reporter) if taken is not None else []
    yield application.cluster(at.port, at.instance)
    yield _listener(at, _chains(at, chain, taken, plain), needs)


def _chains(at: _Place, chain: dict[str, Any], taken: Plaintext | None, plain: list[dict[str, Any]]) -> dict[str, Any]:
    """The chain of the mesh, and that of callers in plaintext while the port takes them."""
    limited = [*connections.limited(plaintext.name(at.where), at.port.max_connections), *plain]
    return plaintext.chains(at.where, chain, taken, limited)


def _chain(at: _Place, chain: dict[str, Any]) -> dict[str, Any]:
    """The chain of the mesh: mutual TLS; *chain* has the filters, and what makes connections end when it changes."""
    port = at.port
    if port.last:
        chain["filter_chain_match"] = ranges.only_declared(port)
    return chain | {
        "name": at.where,
        "filters": [*connections.limited(at.where, port.max_connections), _remembered(port), *chain["filters"]],
        "transport_socket": server_tls(at.workload.spiffe_id, _alpn(port.protocol)),
        "transport_socket_connect_timeout": timedelta(seconds=10),
    }


def _listener(at: _Place, served: dict[str, Any], needs: Iterable[tuple[str, str]]) -> tuple[str, Resource]:
    """A listener at the proxy's address; *served* has its chains, which refer to *needs*."""
    if at.port.last:
        served["listener_filters"] = [ranges.inspector()]
    listener = codec.build(
        _LISTENER,
        name=at.where,
        address=codec.socket_address(at.instance.inbound[at.port.name]),
        # Envoy's default would let any process of the same user bind the port too, and take half of the callers.
        enable_reuse_port={"value": False},
        access_log=[at.reporter.handshakes(at.where, limited=at.port.max_connections > 0)],
        traffic_direction="INBOUND",
        stat_prefix=at.where,
        **served,
    )
    return codec.resource(at.where, listener, needs)


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
    return [*connection_rbac.plaintext_filters(own, rules), tcp.proxy(own, cluster, log, wait_for_data=True)]


def _alpn(protocol: Protocol) -> tuple[str, ...]:
    if protocol.is_http2:
        return ("h2",)
    return ("h2", "http/1.1") if protocol is Protocol.HTTP else ()
