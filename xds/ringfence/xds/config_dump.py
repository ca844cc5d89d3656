"""What an Envoy says that it holds (its admin interface's /config_dump?include_eds), beside what it was sent.

The parts are those of admin.v3.ConfigDump. Envoy keeps listeners, clusters, routes and filters as they came; endpoints
it writes anew, with health and weights, so that of these only addresses, priorities and places are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringfence.xds.readable import KIND_OF, addresses, differences, reread
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE

_PART = "type.googleapis.com/envoy.admin.v3."
_REFUSED = "refused"
_WARMING = "still warming: it waits for something that this needs"


@dataclass(frozen=True, slots=True)
class Sent:
    """A resource as the server sent it: its values as `readable.plain` gives them, and what the proxy said of it."""

    type_url: str
    name: str
    state: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One resource in which the two sides differ, and in what."""

    kind: str
    name: str
    text: str


def compared(sent: Iterable[Sent], dump: Mapping[str, Any]) -> list[Difference]:
    """Where what an Envoy holds by its *dump* is not what it was *sent*; raises ValueError for what is no dump."""
    live, warming = _held(dump), _warming(dump)
    # What was refused is listed beside what is kept in its place.
    listed = sorted(sent, key=lambda one: (one.type_url, one.name, one.state == _REFUSED))
    ours = {(one.type_url, one.name) for one in listed}
    kept = {(one.type_url, one.name) for one in listed if one.state != _REFUSED}
    found = []
    for one in listed:
        key = (one.type_url, one.name)
        if one.state == _REFUSED and key in kept:
            text = "refused; the proxy keeps what it accepted before"
        else:
            text = _differs(one, live.get(key), is_warming=key in warming)
        found += [Difference(KIND_OF[one.type_url], one.name, text)] if text else []
    # Clusters whose endpoints they name themselves are listed among the endpoints too, under no name that was sent.
    more = [key for key in sorted(live.keys() - ours) if key[0] != ENDPOINT]
    return found + [Difference(KIND_OF[url], name, "the proxy holds it, and was not sent it") for url, name in more]


def _differs(one: Sent, values: Mapping[str, Any] | None, *, is_warming: bool) -> str:
    refused = "refused; " if one.state == _REFUSED else ""
    if values is None:
        return f"{refused}{_WARMING}" if is_warming else f"{refused}the proxy does not hold it"
    if not one.values:
        return ""  # it brought this one along, and the server never had its bytes
    pair = (addresses(one.values), addresses(values)) if one.type_url == ENDPOINT else (one.values, values)
    where = list(differences(*pair))
    more = f" and {len(where) - 1} more" if len(where) > 1 else ""
    return f"{refused}{where[0]}{more}" if where else ""


def _held(dump: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """What is in force, by type and name."""
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for url, values in _entries(dump):
        key = "cluster_name" if url == ENDPOINT else "name"
        held[url, str(values.get(key))] = reread(url.rpartition("/")[2], values)
    return held


def _entries(dump: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in _part(dump, "Listeners", "dynamic_listeners"):
        if "active_state" in each:
            yield LISTENER, _bare(each["active_state"].get("listener", {}))
    places = (
        (CLUSTER, "Clusters", "dynamic_active_clusters", "cluster"),
        (ROUTE, "Routes", "dynamic_route_configs", "route_config"),
        (ENDPOINT, "Endpoints", "dynamic_endpoint_configs", "endpoint_config"),
        (EXTENSION_CONFIG, "Ecds", "ecds_filters", "ecds_filter"),
    )
    for url, part, listed, key in places:
        for each in _part(dump, part, listed):
            yield url, _bare(each.get(key, {}))


def _warming(dump: Mapping[str, Any]) -> set[tuple[str, str]]:
    listeners = _part(dump, "Listeners", "dynamic_listeners")
    clusters = _part(dump, "Clusters", "dynamic_warming_clusters")
    found = {(LISTENER, str(each.get("name"))) for each in listeners if "warming_state" in each}
    return found | {(CLUSTER, str(each.get("cluster", {}).get("name"))) for each in clusters}


def _part(dump: Mapping[str, Any], name: str, listed: str) -> Iterator[Mapping[str, Any]]:
    if "configs" not in dump:
        raise ValueError("it has no configs")
    for part in dump["configs"]:
        if part.get("@type") == f"{_PART}{name}ConfigDump":
            yield from part.get(listed, [])


def _bare(packed: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a packed message, which proto JSON writes beside its type."""
    return {key: value for key, value in packed.items() if key != "@type"}
