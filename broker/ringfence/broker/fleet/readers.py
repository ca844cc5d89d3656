"""Which proxies hold the endpoints of which ports, so that a change looks at those alone and not at all of them."""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.broker.fleet.endpoints import Served
from ringfence.broker.fleet.proxy import Proxy


class Readers:
    """Kept in step with the scopes of the proxies."""

    def __init__(self) -> None:
        self._reads: dict[Proxy, frozenset[Served]] = {}
        self._of: dict[Served, dict[Proxy, None]] = {}  # in the order in which they came

    def follow(self, proxy: Proxy) -> None:
        """A proxy came, or its scope is another one."""
        self.drop(proxy)
        self._reads[proxy] = reads = frozenset(proxy.reads)
        for served in reads:
            self._of.setdefault(served, {})[proxy] = None

    def drop(self, proxy: Proxy) -> None:
        """A proxy has left, if it was there."""
        for served in self._reads.pop(proxy, ()):
            readers = self._of[served]
            del readers[proxy]
            if not readers:
                del self._of[served]

    def of(self, served: Iterable[Served]) -> list[Proxy]:
        """The proxies that hold endpoints of one of these ports, each once."""
        return list(dict.fromkeys(proxy for port in served for proxy in self._of.get(port, ())))
