"""The part of the admin API that is about connected proxies: what they are, what they hold, and when they hold it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.fleet.dump import dumped
from ringfence.broker.fleet.fleet import Fleet
from ringfence.certs.errors import Kind, RingfenceError


class ProxyAdminApi:
    """Answers for the proxies that are connected to this server, and for no other server's."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """By the name of the call."""
        return {"ListProxies": self.list_proxies, "ShowProxies": self.show_proxies}

    async def list_proxies(self, _: pb.ListProxiesRequest) -> pb.ListProxiesResponse:
        """Every connected proxy."""
        return pb.ListProxiesResponse(proxies=self._fleet.list_proxies())

    async def show_proxies(self, asked: pb.ShowProxiesRequest) -> pb.ShowProxiesResponse:
        """What those that are named were sent; raises NOT_FOUND when nobody is."""
        found = dumped(self._fleet.connected, asked.name)
        if not found:
            raise RingfenceError(
                Kind.NOT_FOUND,
                f"no proxy of {asked.name!r} is connected to this server",
                hint="See `ringfence proxy status`, also of the other servers",
            )
        return pb.ShowProxiesResponse(proxies=found)
