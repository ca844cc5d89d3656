"""What proxies were sent, as rows: for `ringfence proxy config`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ringfence.xds import codec
from ringfence.xds.readable import KIND_OF, KINDS, plain, secret_names, summary


def resources_of(proxies: Iterable[Any], kind: str | None, *, whole: bool) -> list[dict[str, Any]]:
    """A row for each resource of that kind, or of all; *whole*: with everything that it says."""
    wanted = {KINDS[kind]} if kind else set(KINDS.values())
    return [
        _row(proxy, resource, whole=whole)
        for proxy in proxies
        for resource in proxy.resources
        if resource.type_url in wanted
    ]


def secrets_of(proxies: Iterable[Any]) -> list[dict[str, Any]]:
    """A row for each name by which a proxy asks its agent for secrets."""
    return [
        {"node": proxy.node, "name": name}
        for proxy in proxies
        for name in sorted({name for resource in proxy.resources for name in secret_names(values_of(resource))})
    ]


def values_of(resource: Any) -> dict[str, Any]:
    """What a sent resource says; nothing for one of which only the proxy has the bytes, or only a newer server."""
    try:
        return plain(codec.unpack(resource.any)) if resource.any else {}
    except (KeyError, TypeError):  # a type that is not in this program's schema
        return {}


def _row(proxy: Any, resource: Any, *, whole: bool) -> dict[str, Any]:
    values = values_of(resource)
    return {
        "node": proxy.node,
        "type": KIND_OF[resource.type_url],
        "name": resource.name,
        "state": resource.state,
        "version": resource.version,
        **({"resource": values} if whole else {"summary": summary(resource.type_url, values)}),
    }
