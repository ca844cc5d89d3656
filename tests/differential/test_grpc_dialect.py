"""T8: what gRPC does with each thing that a control plane might send it, as measured; our renderer relies on these.

A row whose outcome changes with a new grpcio says either that something may now be sent, or that something that
was harmless is not so any more. docs/grpc.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from ringfence.policy.callers import Source
from ringfence.policy.model import Destination, Effect, HttpMatch, Mode, Protocol, Rule
from ringfence.policy.paths import PathPattern
from ringfence.policy.scope import Upstream
from ringfence.xds import codec
from ringfence.xds.instance import Endpoint
from ringfence.xds.locality import Locality
from ringfence.xds.outbound import outbound_name
from ringfence.xds.proxyless.client import dialled
from ringfence.xds.proxyless.names import listener_name
from ringfence.xds.proxyless.rbac import ALLOW_FILTER
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.differential.bench import GRPC, Bench, bench
from tests.differential.cases import HERE, IDENTITIES, SERVER, Asked, model_of
from tests.e2e.library import Told
from tests.e2e.plane import until

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("dialect")]

# Outcomes: asked for what the rule allows, and for what it does not.
JUDGES, ALLOWS_ALL, DENIES_ALL = (True, False), (True, True), (False, False)
ALLOWED = Asked("team-a/sa/trainer", "POST", "/pkg.Models/Get")
OTHER = Asked("team-a/sa/trainer", "POST", "/pkg.Other/Get")
_PER_ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_ANY = {"any": True}
_NOBODY = {"p": {"permissions": [_ANY], "principals": [{"not_id": _ANY}]}}

Change = Callable[[Any, Any], None]  # of a listener and of its routes


@dataclass(frozen=True)
class Row:
    """One thing sent in place of what we send, what comes of it, and what a refusal says."""

    number: int
    what: str
    outcome: tuple[bool, bool]
    change: Change
    says: str = ""

    def __str__(self) -> str:
        return f"T8.{self.number} {self.what}"


def _nothing(listener: Any, routes: Any) -> None:
    """As we send it."""


def _allow(**rbac: Any) -> Change:
    """Another override of the allow filter."""

    def change(listener: Any, routes: Any) -> None:
        override = codec.packed(_PER_ROUTE, **({"rbac": rbac} if rbac else {}))
        routes.virtual_hosts[0].routes[0].typed_per_filter_config[ALLOW_FILTER].CopyFrom(override)

    return change


def _rules(action: str = "ALLOW", *, permission: Any = None, principal: Any = None, **policy: Any) -> dict[str, Any]:
    """Rules of one policy, for everybody and everything unless told otherwise."""
    only = {"permissions": [permission or _ANY], "principals": [principal or _ANY], **policy}
    return {"action": action, "policies": {"p": only}}


def _manager(edit: Callable[[Any], None]) -> Change:
    """An edit of the connection manager."""

    def change(listener: Any, routes: Any) -> None:
        config = listener.filter_chains[0].filters[0].typed_config
        manager = codec.unpack(config.SerializeToString())
        edit(manager)
        config.CopyFrom(codec.pack(manager))

    return change


def _add_filter(**fields: Any) -> Change:
    """One more HTTP filter, in front."""

    def edit(manager: Any) -> None:
        kept = list(manager.http_filters)
        del manager.http_filters[:]
        manager.http_filters.add(**fields)
        manager.http_filters.extend(kept)

    return _manager(edit)


def _tls(edit: Callable[[Any], None]) -> Change:
    """An edit of the TLS context."""

    def change(listener: Any, routes: Any) -> None:
        config = listener.filter_chains[0].transport_socket.typed_config
        tls = codec.unpack(config.SerializeToString())
        edit(tls)
        config.CopyFrom(codec.pack(tls))

    return change


def _secrets(tls: Any) -> None:
    common = tls.common_tls_context
    common.ClearField("tls_certificate_provider_instance")
    common.tls_certificate_sds_secret_configs.add(name="own")


def _versions(tls: Any) -> None:
    tls.common_tls_context.tls_params.tls_minimum_protocol_version = 4


def _names(tls: Any) -> None:
    tls.common_tls_context.validation_context.match_subject_alt_names.add(exact="spiffe://example.test/ns/a/sa/b")


def _network_filter(listener: Any, routes: Any) -> None:
    chain = listener.filter_chains[0]
    manager = codec.build("envoy.config.listener.v3.Filter")
    manager.CopyFrom(chain.filters[0])
    del chain.filters[:]
    network = "envoy.extensions.filters.network.rbac.v3.RBAC"
    chain.filters.add(**codec.extension("rbac", network, rules=_rules(), stat_prefix="x"))
    chain.filters.append(manager)


def _listener_filter(listener: Any, routes: Any) -> None:
    inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    listener.listener_filters.add(**codec.extension("tls", inspector))


def _another_address(listener: Any, routes: Any) -> None:
    listener.address.socket_address.address = "127.0.0.2"


def _no_route(listener: Any, routes: Any) -> None:
    del routes.virtual_hosts[0].routes[:]


def _forwarding(listener: Any, routes: Any) -> None:
    routes.virtual_hosts[0].routes[0].route.cluster = "somewhere"


def _no_tls(listener: Any, routes: Any) -> None:
    listener.filter_chains[0].ClearField("transport_socket")


def _no_overrides(listener: Any, routes: Any) -> None:
    routes.virtual_hosts[0].routes[0].typed_per_filter_config.clear()


_MATCHER = {"on_no_match": {"action": codec.extension("a", "envoy.config.rbac.v3.Action", name="d", action="DENY")}}
_STATE = {"filter_state": {"key": "x", "string_match": {"exact": "y"}}}
_PORTS = {"destination_port_range": {"start": 1, "end": 2}}
_BY_ECDS = {"type_urls": [f"type.googleapis.com/{_RBAC}"]}
_GRPC_HEADER = {"header": {"name": "grpc-timeout", "present_match": True}}
_UNKNOWN = codec.extension("unknown", "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation")

ROWS = (
    Row(1, "what we send", JUDGES, _nothing),
    Row(2, "the action LOG", ALLOWS_ALL, _allow(rules=_rules("LOG"))),
    Row(3, "a matcher tree and no rules", ALLOWS_ALL, _allow(matcher=_MATCHER)),
    Row(4, "shadow rules and no rules", ALLOWS_ALL, _allow(shadow_rules={"action": "ALLOW", "policies": _NOBODY})),
    Row(5, "an override without anything", ALLOWS_ALL, _allow()),
    Row(6, "rules without a policy", DENIES_ALL, _allow(rules={"action": "ALLOW", "policies": {}})),
    Row(7, "no override", DENIES_ALL, _no_overrides),
    Row(8, "no route", DENIES_ALL, _no_route),
    Row(9, "a route that forwards", DENIES_ALL, _forwarding),
    Row(10, "filter_state", DENIES_ALL, _allow(rules=_rules(principal=_STATE)), "invalid rule"),
    Row(11, "destination_port_range", DENIES_ALL, _allow(rules=_rules(permission=_PORTS)), "invalid rule"),
    Row(12, "a CEL condition", DENIES_ALL, _allow(rules=_rules(condition={})), "condition"),
    Row(13, "a grpc- header", DENIES_ALL, _allow(rules=_rules(permission=_GRPC_HEADER)), "grpc-"),
    Row(14, "an unknown filter", DENIES_ALL, _add_filter(**_UNKNOWN), "unsupported filter type"),
    Row(15, "the same, optional", JUDGES, _add_filter(**_UNKNOWN, is_optional=True)),
    Row(16, "a filter by ECDS", DENIES_ALL, _add_filter(name="x", config_discovery=_BY_ECDS), "typed_config"),
    Row(17, "a network filter", DENIES_ALL, _network_filter, "exactly one filter|must have exactly one"),
    Row(18, "secrets by SDS", DENIES_ALL, _tls(_secrets), "tls_certificate"),
    Row(19, "TLS versions", DENIES_ALL, _tls(_versions), "tls_params"),
    Row(20, "names that a caller must have", DENIES_ALL, _tls(_names), "match_subject_alt_names"),
    Row(21, "a listener filter", JUDGES, _listener_filter),
    Row(22, "another address", DENIES_ALL, _another_address),
)  # fmt: skip


def _port(row: Row) -> str:
    return f"row-{row.number}"


def _rule(row: Row) -> Rule:
    match = HttpMatch(methods=frozenset(), paths=(PathPattern(ALLOWED.path),))
    destination, source = Destination(SERVER, _port(row)), Source(IDENTITIES[0], None)
    told = ((source,), (destination,), (match,), "owner", "reason", None, "0" * 12, HERE)
    return Rule("team", _port(row), Effect.ALLOW, Mode.ENFORCE, *told)


@pytest.fixture(scope="module")
def dialect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One gRPC server with a port for each row, and one without TLS."""
    with bench(tmp_path_factory.mktemp("t"), [_port(row) for row in ROWS] + ["plain"], [GRPC]) as running:
        ports = running.ports[GRPC]
        made = running.compiled(GRPC, model_of(tuple(map(_rule, ROWS)), ports, Protocol.GRPC))
        running.start({GRPC: _changed(made, ports)})
        yield running


def _changed(made: Snapshot, ports: dict[str, int]) -> Snapshot:
    """*made* with what each row sends."""
    found = {(url, name): resource for url, named in made.resources.items() for name, resource in named.items()}

    def put(port: str, change: Change) -> None:
        name, where = listener_name(("127.0.0.1", ports[port])), f"inbound/{port}"
        listener, routes = codec.unpack(found[LISTENER, name].any), codec.unpack(found[ROUTE, where].any)
        change(listener, routes)
        found[LISTENER, name] = codec.resource(name, listener)[1]
        found[ROUTE, where] = codec.resource(where, routes)[1]

    for row in ROWS:
        put(_port(row), row.change)
    put("plain", _no_tls)
    pairs: list[tuple[str, Resource]] = [(url, resource) for (url, _), resource in found.items()]
    return Snapshot.of(pairs, "t8")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_grpc_does_with_it_as_was_measured(dialect: Bench, row: Row) -> None:
    """Taken, taken for nothing, or refused with words that name it."""
    if row.says:
        until(lambda: any(re.search(row.says, nack) for nack in dialect.plane.nacks), f"a refusal of {row.what}")
    until(lambda: _outcome(dialect, row) == row.outcome, str(row))


def _outcome(dialect: Bench, row: Row) -> tuple[bool, ...]:
    try:
        return tuple(dialect.ask(GRPC, _port(row), [ALLOWED, OTHER]))
    except ValueError as error:
        if "grpc_status='14'" not in str(error):  # UNAVAILABLE: there are no routes that can be taken
            raise
        return DENIES_ALL


@dataclass(frozen=True)
class Dial:
    """What a client is sent in place of what we send, and what comes of a call."""

    number: int
    what: str
    code: str
    change: Change  # of a cluster and of its load assignment

    def __str__(self) -> str:
        return f"T8.{self.number} {self.what}"


ELSE = "spiffe://example.test/ns/shared/sa/other"


def _another_name(cluster: Any, assignment: Any) -> None:
    context = _validation(cluster)
    context[1].match_subject_alt_names[0].exact = ELSE
    cluster.transport_socket.typed_config.CopyFrom(codec.pack(context[0]))


def _typed_name(cluster: Any, assignment: Any) -> None:
    tls, validation = _validation(cluster)
    del validation.match_subject_alt_names[:]
    validation.match_typed_subject_alt_names.add(san_type=3, matcher={"exact": ELSE})
    cluster.transport_socket.typed_config.CopyFrom(codec.pack(tls))


def _validation(cluster: Any) -> tuple[Any, Any]:
    tls = codec.unpack(cluster.transport_socket.typed_config.SerializeToString())
    return tls, tls.common_tls_context.validation_context


def _no_weight(cluster: Any, assignment: Any) -> None:
    assignment.endpoints[0].ClearField("load_balancing_weight")


def _a_host_name(cluster: Any, assignment: Any) -> None:
    socket = {"socket_address": {"address": "localhost", "port_value": 1}}
    assignment.endpoints[0].lb_endpoints.add(endpoint={"address": socket})


DIALS = (
    Dial(31, "what we send", "OK", _nothing),
    Dial(32, "another name to be proved", "UNAVAILABLE", _another_name),
    Dial(33, "the same in the field that Envoy wants", "OK", _typed_name),
    Dial(34, "a locality without a weight", "UNAVAILABLE", _no_weight),
    Dial(35, "a host name among the endpoints", "UNAVAILABLE", _a_host_name),
)


def _dialled(dial: Dial) -> str:
    """A port of its own in the client's eyes."""
    return _port(ROWS[DIALS.index(dial)])


@pytest.fixture(scope="module")
def client(dialect: Bench) -> Told:
    """A client with a target for each of these, all of them the first row's server."""
    at = Endpoint("127.0.0.1", dialect.ports[GRPC][_port(ROWS[0])])
    pairs: list[tuple[str, Resource]] = []
    model = model_of((), dialect.ports[GRPC], Protocol.GRPC)
    for dial in DIALS:
        upstream = Upstream(SERVER, _dialled(dial), Protocol.GRPC, external=False, env_name="")
        for url, resource in dialled(model, upstream, {(SERVER, upstream.port): (at,)}, Locality()):
            pairs.append((url, resource))
        where = outbound_name(upstream)
        named = {(url, resource.name): resource for url, resource in pairs}
        cluster, assignment = (codec.unpack(named[url, where].any) for url in (CLUSTER, ENDPOINT))
        dial.change(cluster, assignment)
        pairs = [pair for pair in pairs if not (pair[0] in {CLUSTER, ENDPOINT} and pair[1].name == where)]
        pairs += [codec.resource(where, cluster), codec.resource(where, assignment)]
    dialect.plane.snapshots["client"] = Snapshot.of(pairs, "t8")
    return dialect.start_library("client", IDENTITIES[0])


@pytest.mark.parametrize("dial", DIALS, ids=str)
def test_a_client_of_grpc_does_with_it_as_was_measured(dialect: Bench, client: Told, dial: Dial) -> None:
    """An exact name is demanded only where gRPC looks for it."""
    until(lambda: _outcome(dialect, ROWS[0]) == JUDGES, "the server")
    target = f"xds:///server.shared:{_dialled(dial)}"
    wait = dial.code == "OK"
    said = client.do("call", target=target, path=ALLOWED.path, wait=wait)
    assert said.startswith(dial.code), said


def test_without_a_transport_socket_grpc_serves_in_plaintext(dialect: Bench) -> None:
    """T8.23: by the program's fallback credentials, which the usual examples leave insecure."""
    with grpc.insecure_channel(f"127.0.0.1:{dialect.ports[GRPC]['plain']}") as channel:
        try:
            channel.unary_unary("/pkg.Models/Get")(b"", timeout=30, wait_for_ready=True)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
    assert code is grpc.StatusCode.PERMISSION_DENIED, "the handshake was none, and only the rules refused"
