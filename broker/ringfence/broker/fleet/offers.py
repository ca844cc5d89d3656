"""Where the connected proxies are served, as others are told it and as the endpoint log keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ringfence.broker.fleet.endpoints import EndpointLog, Endpoints, Served, locality_of, rows_of
from ringfence.broker.fleet.journal import Journal
from ringfence.broker.fleet.proxy import Proxy
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.xds.instance import Endpoint


class Offers:
    """Endpoints and their log in step. Each change returns the ports that it touched."""

    def __init__(self, endpoint_log: EndpointLog, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.journal = Journal(endpoint_log)

    def of(self, key: str, port: str) -> tuple[Endpoint, ...]:
        """The addresses of a port of a workload."""
        return self.endpoints.of(key, port)

    async def restore(self, now: datetime) -> None:
        """Take in what was kept; raises what the log raises."""
        self.endpoints.restore(await self.journal.load(), now)

    def offer(self, proxy: Proxy, *, joins: bool) -> set[Served]:
        """Let others have the ports of a connected proxy, and remember them."""
        proxy.offers = True
        said = (proxy.node, proxy.caller.workload.key, proxy.inbound, proxy.instance.locality)
        change = self.endpoints.join if joins else self.endpoints.amend
        comes = self.endpoints.is_elsewhere(proxy.node)  # its server is gone, or it has left that one
        changed = change(*said)
        if changed or comes:
            self.journal.put(proxy.node, rows_of(*said))
        return changed

    def leave(self, proxy: Proxy, now: datetime) -> None:
        """Its stream has ended; nothing changes until the grace is over."""
        if proxy.offers:
            self.endpoints.leave(proxy.node, now)

    def forget(self, node: str) -> set[Served]:
        """Drop what a proxy said, now and for good."""
        self.journal.remove(node)
        return self.endpoints.forget(node)

    def hear(self, node: str, rows: Sequence[EndpointRow]) -> set[Served]:
        """Another server's proxy says *rows*; none: it is no other server's any more."""
        if not rows:
            return self.endpoints.lose(node)
        addresses = {row.port: (row.host, row.number) for row in rows}
        return self.endpoints.hear(node, rows[0].key, addresses, locality_of(rows[0]))
