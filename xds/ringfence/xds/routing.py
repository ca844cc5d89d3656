"""Where the requests of an upstream go: its routes, splits, mirrors, timeouts and retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Destination
from ringfence.policy.traffic import Retries, Route, RouteMatch, Traffic, Zones
from ringfence.xds import codec, http
from ringfence.xds.sharing import shared
from ringfence.xds.snapshot import Resource

ClusterOf = Callable[[Destination], str]  # the name of the cluster of a port

_FOREVER = timedelta(0)
_ATTEMPTS = 3
_BACK_OFF = {"base_interval": timedelta(milliseconds=25), "max_interval": timedelta(milliseconds=250)}
# What never reached the other side is always tried again, at another endpoint where there is one; nothing else by
# default, since a request may not be safe to repeat.
_UNSENT = ("connect-failure", "refused-stream", "reset-before-request", "retriable-headers")
_NEXT_ZONE = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
_ELSEWHERE = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"


def upstream_routes(where: str, own: str, traffic: Traffic | None, cluster_of: ClusterOf) -> tuple[str, Resource]:
    """The route configuration *where* of an upstream whose own cluster is *own*."""
    if traffic is None:
        return _plain_route(where, own)
    made = [route for each in traffic.routes for route in _routes(each, own, traffic, cluster_of)]
    made.append({"match": {"prefix": "/"}, "route": _action(None, own, traffic, cluster_of)})
    return http.routes(where, [{"name": "all", "domains": ["*"], "routes": made}])


@shared(1024)  # for all who call the same
def _plain_route(where: str, own: str) -> tuple[str, Resource]:
    return http.one_route(where, own, retry_policy=retry_policy(None))


@shared(256)
def retry_policy(retries: Retries | None, zones: Zones | None = None) -> Any:
    """Envoy's retry policy: what the document names beside what never reached the other side."""
    policy: dict[str, Any] = {
        "retry_on": ",".join(dict.fromkeys((*_UNSENT, *(retries.on if retries is not None else ())))),
        "retriable_headers": [{"name": http.UNSENT, "present_match": True}],
        "num_retries": {"value": retries.attempts if retries is not None else _ATTEMPTS},
        "retry_back_off": _BACK_OFF,
        "retry_host_predicate": [codec.extension("envoy.retry_host_predicates.previous_hosts", _ELSEWHERE)],
        "host_selection_retry_max_attempts": 8,
    }
    if retries is not None and retries.per_try_timeout is not None:
        policy["per_try_timeout"] = retries.per_try_timeout
    if zones is not None and zones.prefer_local:
        # A zone that is gone counts as healthy until it is found out: what it did not take goes to the next one.
        next_one = codec.extension("envoy.retry_priorities.previous_priorities", _NEXT_ZONE, update_frequency=1)
        policy["retry_priority"] = next_one
    return codec.build("envoy.config.route.v3.RetryPolicy", **policy)


def outside_action(traffic: Traffic | None) -> dict[str, Any]:
    """What a route to a host outside has beside its cluster; nothing is tried again unless the document says so."""
    if traffic is None:
        return {}
    action: dict[str, Any] = {"timeout": traffic.timeout or _FOREVER}
    if traffic.retries is not None:
        action["retry_policy"] = retry_policy(traffic.retries)
    if traffic.idle_timeout is not None:
        action["idle_timeout"] = traffic.idle_timeout
    return action


def _routes(route: Route, own: str, traffic: Traffic, cluster_of: ClusterOf) -> Iterator[dict[str, Any]]:
    action = _action(route, own, traffic, cluster_of)
    if not route.match:
        yield {"match": {"prefix": "/"}, "route": action}
    for match in route.match:
        for fields in _matches(match):
            yield {"match": fields, "route": action}


def _matches(match: RouteMatch) -> Iterator[dict[str, Any]]:
    """A route entry a path; methods and headers are header matchers, all of which must hold."""
    headers = [_header(header) for header in match.headers]
    if match.methods:
        either = "|".join(sorted(match.methods))
        headers.append({"name": ":method", "string_match": {"safe_regex": {"regex": either}}})
    for path in match.paths or (None,):
        # Envoy matches routes against the path without its query; the pattern's regex allows for one and needs none.
        where = {"prefix": "/"} if path is None else {"safe_regex": {"regex": path.regex}}
        yield {**where, "headers": headers}


def _header(header: HeaderMatch) -> dict[str, Any]:
    if header.exact is not None:
        return {"name": header.name, "string_match": {"exact": header.exact}}
    if header.prefix is not None:
        return {"name": header.name, "string_match": {"prefix": header.prefix}}
    return {"name": header.name, "present_match": True}


def _action(route: Route | None, own: str, traffic: Traffic, cluster_of: ClusterOf) -> dict[str, Any]:
    timeout = route.timeout if route is not None and route.timeout is not None else traffic.timeout
    action: dict[str, Any] = {
        "timeout": timeout or _FOREVER,  # none by default: models are big and training is long
        "retry_policy": retry_policy(traffic.retries, traffic.zones),
    }
    if traffic.idle_timeout is not None:
        action["idle_timeout"] = traffic.idle_timeout
    if route is not None and route.split:
        parts = [{"name": cluster_of(part.destination), "weight": {"value": part.weight}} for part in route.split]
        action["weighted_clusters"] = {"clusters": parts}
    else:
        action["cluster"] = own
    if route is not None and route.mirror is not None:
        percent = {"numerator": route.mirror.percent, "denominator": "HUNDRED"}
        copies = {"cluster": cluster_of(route.mirror.destination), "runtime_fraction": {"default_value": percent}}
        action["request_mirror_policies"] = [copies]
    return action
