"""What connected proxies were sent, for an operator who asks after some of them by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.fleet.proxy import Proxy


def is_named(proxy: Proxy, name: str) -> bool:
    """Whether *name* means it: a node id, a SPIFFE ID, NAMESPACE/WORKLOAD, or a NAMESPACE."""
    workload = proxy.caller.workload
    return name in {proxy.instance.node_id, str(proxy.caller.spiffe_id), workload.key, workload.namespace}


def dumped(proxies: Iterable[Proxy], name: str) -> list[Any]:
    """A ProxyDump for each of *proxies* that *name* means, by identity and node."""
    found = [_dump(proxy) for proxy in proxies if is_named(proxy, name)]
    return sorted(found, key=lambda one: (one.spiffe_id, one.node))


def _dump(proxy: Proxy) -> Any:
    return admin_pb2.ProxyDump(
        spiffe_id=str(proxy.caller.spiffe_id),
        node=proxy.instance.node_id,
        state=proxy.state,
        revision=proxy.stream.snapshot.revision,
        proxyless=proxy.instance.proxyless,
        resources=[
            admin_pb2.SentResource(type_url=url, name=one.name, version=one.version, state=said, any=one.any)
            for url, one, said in proxy.stream.told()
        ],
    )
