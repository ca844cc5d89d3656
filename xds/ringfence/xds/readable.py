"""Resources as people read them: plain values in proto JSON's words, a line that sums one up, what two differ in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from ringfence.xds import codec
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE

KINDS: Mapping[str, str] = {
    "listener": LISTENER,
    "cluster": CLUSTER,
    "route": ROUTE,
    "endpoint": ENDPOINT,
    "policy": EXTENSION_CONFIG,
}
KIND_OF: Mapping[str, str] = {url: kind for kind, url in KINDS.items()}
_ACTION = "envoy.config.rbac.v3.Action"


def plain(what: Message) -> dict[str, Any]:
    """A message as values, with the field names of the .proto files; what is packed in it is unpacked."""
    values: dict[str, Any] = json_format.MessageToDict(
        what, preserving_proto_field_name=True, descriptor_pool=codec.pool()
    )
    return values


def reread(full_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that another writer made of such a message, as `plain` gives them; raises ValueError for what is none."""
    try:
        read = json_format.ParseDict(dict(values), codec.build(full_name), descriptor_pool=codec.pool())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    return plain(read)


def secret_names(values: object) -> set[str]:
    """The names under which secrets are asked for in *values*; never a secret, which no resource holds."""
    return {str(found["name"]) for found in _maps(values) if "sds_config" in found and "name" in found}


def summary(type_url: str, values: Mapping[str, Any]) -> str:
    """What a resource is, in a few words."""
    says = _SAYS.get(type_url)
    return says(values) if says is not None else ""


def differences(ours: object, theirs: object, at: str = "") -> Iterator[str]:
    """Where two values differ, each as `path: ours -> theirs`."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(key), theirs.get(key), f"{at}.{key}" if at else str(key))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{at}[{index}]")
    elif ours != theirs:
        yield f"{at}: {_short(ours)} -> {_short(theirs)}"


def addresses(assignment: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The endpoints of an assignment by address, each with its priority and place; weights of 1 and health left out."""
    found: dict[str, dict[str, Any]] = {}
    for group in assignment.get("endpoints", []):
        place = group.get("locality", {})
        about = {"priority": group.get("priority", 0), "region": place.get("region"), "zone": place.get("zone")}
        for each in group.get("lb_endpoints", []):
            found[_address(each.get("endpoint", {}).get("address", {}))] = {k: v for k, v in about.items() if v}
    return found


def _listener(values: Mapping[str, Any]) -> str:
    at = _address(values.get("address", {}))
    chains = len(values.get("filter_chains", [])) + ("default_filter_chain" in values)
    return f"{at}, {chains} filter chains"


def _cluster(values: Mapping[str, Any]) -> str:
    hosts = ", ".join(addresses(values.get("load_assignment", {})))
    return " ".join(part for part in (str(values.get("type", "STATIC")), hosts) if part)


def _endpoint(values: Mapping[str, Any]) -> str:
    return ", ".join(
        at + "".join(f" {key}={value}" for key, value in about.items()) for at, about in addresses(values).items()
    )


def _route(values: Mapping[str, Any]) -> str:
    routes = sum(len(host.get("routes", [])) for host in values.get("virtual_hosts", []))
    clusters = {str(found["cluster"]) for found in _maps(values) if isinstance(found.get("cluster"), str)}
    return f"{routes} routes" + (f" to {', '.join(sorted(clusters))}" if clusters else "")


def _policy(values: Mapping[str, Any]) -> str:
    names = (str(found.get("name", "")) for found in _maps(values) if str(found.get("@type", "")).endswith(_ACTION))
    return ", ".join(sorted(set(names)))


_SAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    LISTENER: _listener,
    CLUSTER: _cluster,
    ENDPOINT: _endpoint,
    ROUTE: _route,
    EXTENSION_CONFIG: _policy,
}


def _address(values: Mapping[str, Any]) -> str:
    if "pipe" in values:
        return str(values["pipe"].get("path"))
    socket = values.get("socket_address", {})
    return f"{socket.get('address')}:{socket.get('port_value')}" if socket else ""


def _maps(values: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(values, Mapping):
        yield values
        for value in values.values():
            yield from _maps(value)
    elif isinstance(values, list):
        for value in values:
            yield from _maps(value)


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004  # a line of a terminal
