"""Envoy's HTTP connection manager as every listener of ours has it: hardened, reporting, its routes by RDS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from ringfence.policy.model import Protocol
from ringfence.xds import codec, decision, rbac
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads
from ringfence.xds.types import EXTENSION_CONFIG, ROUTE, type_url

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_REPLIES = "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_FOREVER = timedelta(0)
# On an answer of the called side's proxy: the workload never saw the request, so that a caller may send it elsewhere.
UNSENT = "x-ringfence-unsent"
_CONNECT_FAILED = "UF"  # Envoy's response flag

# Rules are matched against the path that is left when every trick is out of it (design section 7.6).
_HARDENED: dict[str, Any] = {
    "normalize_path": {"value": True},
    "merge_slashes": True,
    "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
    "strip_trailing_host_dot": True,
    # A stream on which nothing moves may be a model that thinks, so that Envoy's five minutes hold for no stream; who
    # does not even say what is wanted, or does not take what is there, is not waited for.
    "stream_idle_timeout": _FOREVER,
    "request_headers_timeout": timedelta(seconds=10),
    "stream_flush_timeout": timedelta(minutes=5),
    # The peer's address is the connection's, whatever X-Forwarded-For says.
    "use_remote_address": {"value": True},
    "skip_xff_append": True,
    "server_header_transformation": "PASS_THROUGH",
}
# WebSocket (RFC 6455) is a GET to the rules like any other, and from then on a connection.
UPGRADES = [{"upgrade_type": "websocket"}]


def manager(
    where: str, *, filters: Iterable[dict[str, Any]], access_log: Any, tracing: Any, **more: Any
) -> dict[str, Any]:
    """The network filter that serves HTTP: *filters*, then the router by the routes named *where*."""
    fields: dict[str, Any] = {
        "stat_prefix": where,
        "rds": {"route_config_name": where, "config_source": by_ads()},
        "http_filters": [_decision_header(), *filters, _router()],
        "access_log": [access_log],
        "tracing": tracing,
        **more,
    }
    made = codec.build(_MANAGER, **fields)
    made.MergeFrom(_hardened())
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": codec.pack(made)}


def policy_filter(name: str) -> dict[str, Any]:
    """The place of an RBAC filter whose policy comes by ECDS. No default: nothing is served before it is there."""
    return {
        "name": name,
        "config_discovery": _discovered(),
    }


def policy_filters(where: str) -> list[dict[str, Any]]:
    """The places of a listener's deny and allow filters."""
    return [policy_filter(name) for name in policy_names(where)]


def policy_names(where: str) -> tuple[str, str]:
    """What those two filters are called, in order."""
    return rbac.deny_name(where), rbac.allow_name(where)


def needs(where: str) -> list[tuple[str, str]]:
    """What a listener with policy filters and routes refers to."""
    return [(ROUTE, where), *((EXTENSION_CONFIG, name) for name in policy_names(where))]


def routes(where: str, hosts: Iterable[dict[str, Any]]) -> tuple[str, Resource]:
    """The route configuration of a listener."""
    config = codec.build(
        "envoy.config.route.v3.RouteConfiguration",
        name=where,
        virtual_hosts=list(hosts),
        validate_clusters={"value": False},  # a route may arrive before its cluster: 503 for a moment, not a NACK
    )
    return codec.resource(where, config)


def refusal(name: str, status: int, text: str) -> dict[str, Any]:
    """A virtual host that answers everything by itself: a status, and a line that says why."""
    refuse = {"status": status, "body": {"inline_string": f"{text}\n"}}
    return {"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": refuse}]}


def one_route(where: str, cluster: str, **action: Any) -> tuple[str, Resource]:
    """The route configuration that sends everything to one cluster. No timeout: models are big and training is long."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": _FOREVER, **action}}
    return routes(where, [{"name": "all", "domains": ["*"], "routes": [route]}])


def protocol_options(protocol: Protocol, filters: Sequence[dict[str, Any]] = (), **more: Any) -> dict[str, Any]:
    """The cluster option that fixes HTTP/2 or HTTP/1.1, as the protocol has it; *filters* stand behind the router."""
    if not filters and not more:
        return dict(_unfiltered(protocol))
    version = _version(protocol)
    return {_OPTIONS: codec.packed(_OPTIONS, explicit_http_config={version: {}}, http_filters=filters, **more)}


@cache
def tells_unsent() -> Any:
    """The local replies of a called side's proxy, marked where its workload could not be connected to.

    It is so while a workload starts. A workload that forges the mark has its own requests sent elsewhere, or repeated.
    """
    failed = {"response_flag_filter": {"flags": [_CONNECT_FAILED]}}
    mark = {"header": {"key": UNSENT, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return codec.build(_REPLIES, mappers=[{"filter": failed, "headers_to_add": [mark]}])


def _version(protocol: Protocol) -> str:
    return "http2_protocol_options" if protocol.is_http2 else "http_protocol_options"


@cache
def _unfiltered(protocol: Protocol) -> dict[str, Any]:
    return {_OPTIONS: codec.packed(_OPTIONS, explicit_http_config={_version(protocol): {}})}


@cache
def _hardened() -> Any:
    return codec.build(_MANAGER, **_HARDENED)


@cache
def _router() -> dict[str, Any]:
    return codec.extension("envoy.filters.http.router", _ROUTER, suppress_envoy_headers=True)


@cache
def _discovered() -> Any:
    kinds = [type_url(rbac.HTTP_RBAC)]
    return codec.build("envoy.config.core.v3.ExtensionConfigSource", config_source=by_ads(), type_urls=kinds)


@cache
def _decision_header() -> dict[str, Any]:
    """A filter that puts the decision's id on every response, to be pasted to `ringfence authz explain`."""
    header = {"key": decision.RESPONSE_HEADER, "value": "%TRACE_ID%"}
    append = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return codec.extension("ringfence.decision", _MUTATION, mutations={"response_mutations": [{"append": append}]})
