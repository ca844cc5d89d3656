"""Where the connected proxies are served, as others are told it and as the endpoint log keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ringfence.broker.fleet.endpoints import EndpointLog, Endpoints, Served, locality_of, rows_of
from ringfence.broker.fleet.journal import Journal
from ringfence.broker.fleet.proxy import Proxy
from ringfence.broker.log import log
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.xds.instance import Endpoint


class Offers:
    """Endpoints and their log in step; *touched* is called with the ports that a change touched, or with none."""

    def __init__(self, endpoint_log: EndpointLog, endpoints: Endpoints, touched: Callable[[set[Served]], None]) -> None:
        self.endpoints = endpoints
        self.journal = Journal(endpoint_log)
        self._touched = touched

    def of(self, key: str, port: str) -> tuple[Endpoint, ...]:
        """The addresses of a port of a workload."""
        return self.endpoints.of(key, port)

    async def restore(self, now: datetime) -> None:
        """Take in what was kept; raises what the log raises."""
        self.endpoints.restore(await self.journal.load(), now)

    def offer(self, proxy: Proxy, *, joins: bool) -> None:
        """Let others have the ports of a connected proxy, and remember them."""
        proxy.offers = True
        said = (proxy.node, proxy.caller.workload.key, proxy.inbound, proxy.instance.locality)
        change = self.endpoints.join if joins else self.endpoints.amend
        comes = self.endpoints.is_elsewhere(proxy.node)  # its server is gone, or it has left that one
        changed = change(*said)
        if changed or comes:
            self.journal.put(proxy.node, rows_of(*said))
        self._touched(changed)

    def offer_if_serving(self, proxy: Proxy) -> None:
        """The same for one whose ports are other ones now, if it ever had any."""
        if proxy.offers or proxy.inbound:
            self.offer(proxy, joins=not proxy.offers)

    def bind(self, proxy: Proxy, listeners: frozenset[str], now: datetime) -> None:
        """Take in which listeners a gRPC library asks for: with those of its servers it says that they are bound.

        A process has a stream of its own for its servers, and one for each target: only the first offers anything.
        """
        proxy.listeners = listeners
        if not proxy.offers and proxy.inbound and (lost := proxy.losses(now)):
            log.warning("gRPC cannot say all", spiffe_id=str(proxy.caller.spiffe_id), losses=list(map(str, lost)))
        self.offer_if_serving(proxy)

    def depart(self, node: str, ours: Sequence[Proxy]) -> None:
        """A proxy says goodbye on *ours*, its streams here; without any, what was kept of it is forgotten."""
        for proxy in ours:
            proxy.departed = True
            self.offer_if_serving(proxy)
        if not ours and not self.endpoints.is_elsewhere(node):
            self.forget(node)

    def leave(self, proxy: Proxy, now: datetime) -> None:
        """Its stream has ended; nothing changes until the grace is over."""
        if proxy.offers:
            self.endpoints.leave(proxy.node, now)

    def lapse(self, now: datetime) -> None:
        """Drop what proxies said whose grace is over."""
        for node in self.endpoints.lapsed(now):
            self.forget(node)

    def forget(self, node: str) -> None:
        """Drop what a proxy said, now and for good."""
        self.journal.remove(node)
        self._touched(self.endpoints.forget(node))

    def hear(self, node: str, rows: Sequence[EndpointRow]) -> None:
        """Another server's proxy says *rows*; none: it is no other server's any more."""
        if not rows:
            self._touched(self.endpoints.lose(node))
            return
        addresses = {row.port: (row.host, row.number) for row in rows}
        self._touched(self.endpoints.hear(node, rows[0].key, addresses, locality_of(rows[0])))
