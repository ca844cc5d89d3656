"""Where workloads are served: said by connected proxies, kept for a while when they leave, remembered over restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from ringfence.broker.store.endpoints import EndpointRow
from ringfence.xds.instance import Address, Endpoint
from ringfence.xds.locality import NOWHERE, Locality

GRACE = timedelta(seconds=10)  # a proxy that lost its stream serves on: it mostly comes back at once
RESTART_GRACE = timedelta(seconds=60)  # for proxies to find a restarted server

Served = tuple[str, str]  # workload key and port name


class EndpointLog(Protocol):
    """Keeps endpoints over a restart of the server; `node` tells proxies apart over all workloads."""

    async def load(self) -> list[EndpointRow]:
        """Everything that was put and not removed."""

    async def put(self, node: str, rows: list[EndpointRow]) -> None:
        """Keep *rows* as all that *node* says."""

    async def remove(self, node: str) -> None:
        """Forget what that proxy said."""


@dataclass(slots=True)
class _Said:
    """What one proxy said; `until` None while it is connected, here or (`elsewhere`) to another server."""

    key: str
    addresses: Mapping[str, Address]
    locality: Locality = NOWHERE
    streams: int = 0
    until: datetime | None = None
    elsewhere: bool = False


@dataclass(slots=True)
class Endpoints:
    """The addresses of every served port. Each change returns the ports that it touched."""

    grace: timedelta = GRACE
    restart_grace: timedelta = RESTART_GRACE
    _said: dict[str, _Said] = field(default_factory=dict)  # by node
    _served: dict[Served, dict[str, Endpoint]] = field(default_factory=dict)  # by node, the newest last

    def of(self, key: str, port: str) -> tuple[Endpoint, ...]:
        """The addresses of a port, each once, as the newest proxy there says it, in order."""
        found = {(each.host, each.port): each for each in self._served.get((key, port), {}).values()}
        return tuple(found[address] for address in sorted(found))

    def served_by(self, node: str) -> set[Served]:
        """The ports that others are sent to that proxy for."""
        said = self._said.get(node)
        return {(said.key, port) for port in said.addresses} if said is not None else set()

    def restore(self, rows: Iterable[EndpointRow], now: datetime) -> None:
        """Believe what was kept, until its proxies come back or the time for that is over."""
        grouped: dict[tuple[str, str, Locality], dict[str, Address]] = {}
        for row in rows:
            grouped.setdefault((row.node, row.key, locality_of(row)), {})[row.port] = (row.host, row.number)
        for (node, key, locality), addresses in grouped.items():
            self._set(node, _Said(key, addresses, locality, until=now + self.restart_grace))

    def join(self, node: str, key: str, addresses: Mapping[str, Address], locality: Locality = NOWHERE) -> set[Served]:
        """A proxy opened a stream; it may have another open still."""
        before = self._said.get(node)
        return self._set(node, _Said(key, addresses, locality, streams=before.streams + 1 if before else 1))

    def amend(self, node: str, key: str, addresses: Mapping[str, Address], locality: Locality = NOWHERE) -> set[Served]:
        """A connected proxy serves other ports now."""
        before = self._said.get(node)
        return self._set(node, _Said(key, addresses, locality, streams=before.streams if before else 1))

    def leave(self, node: str, now: datetime) -> None:
        """A stream of a proxy ended; nothing changes until the grace is over."""
        said = self._said.get(node)
        if said is None:
            return
        said.streams -= 1
        if said.streams <= 0 and not said.elsewhere:
            said.until = now + self.grace

    def hear(self, node: str, key: str, addresses: Mapping[str, Address], locality: Locality = NOWHERE) -> set[Served]:
        """A proxy is connected to another server; while it is here too, what it says here stands."""
        said = self._said.get(node)
        if said is None or said.streams <= 0:
            return self._set(node, _Said(key, addresses, locality, elsewhere=True))
        said.elsewhere = True
        return set()

    def lose(self, node: str) -> set[Served]:
        """A proxy is connected to no other server any more."""
        said = self._said.get(node)
        if said is None or not said.elsewhere:
            return set()
        if said.streams <= 0:
            return self.forget(node)
        said.elsewhere = False
        return set()

    def is_elsewhere(self, node: str) -> bool:
        """Whether another server was the last to say where that proxy is served."""
        said = self._said.get(node)
        return said is not None and said.elsewhere

    def elsewhere(self) -> set[str]:
        """The proxies of other servers."""
        return {node for node, said in self._said.items() if said.elsewhere}

    def forget(self, node: str) -> set[Served]:
        """Drop what a proxy said, now."""
        touched = self.served_by(node)
        self._said.pop(node, None)
        for served in touched:
            del self._served[served][node]
        return touched

    def lapsed(self, now: datetime) -> list[str]:
        """The nodes whose grace is over."""
        return [node for node, said in self._said.items() if said.until is not None and said.until <= now]

    def next_lapse(self) -> datetime | None:
        """When the next grace is over."""
        return min((said.until for said in self._said.values() if said.until is not None), default=None)

    def _set(self, node: str, said: _Said) -> set[Served]:
        old = self._said.get(node)
        if old == said:
            return set()  # most changes of the intent move no port
        before = _endpoints(old) if old else {}
        self.forget(node)
        self._said[node] = said
        after = _endpoints(said)
        for served, endpoint in after.items():
            self._served.setdefault(served, {})[node] = endpoint
        return {served for served in before.keys() | after.keys() if before.get(served) != after.get(served)}


def rows_of(node: str, key: str, addresses: Mapping[str, Address], locality: Locality = NOWHERE) -> list[EndpointRow]:
    """What a proxy said, as it is kept."""
    where = {"region": locality.region, "zone": locality.zone}
    return [EndpointRow(key, port, host, number, node, **where) for port, (host, number) in addresses.items()]


def locality_of(row: EndpointRow) -> Locality:
    """Where the proxy of a kept endpoint runs."""
    return Locality(row.region, row.zone)


def _endpoints(said: _Said) -> dict[Served, Endpoint]:
    return {(said.key, port): Endpoint(*address, said.locality) for port, address in said.addresses.items()}
