"""The part of the admin API that is about connected proxies: what they are, what they hold, and when they hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.present import present
from ringfence.broker.access.reads import visible
from ringfence.broker.fleet.dump import dumped
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.holding import Holding, Outcome, Standing
from ringfence.broker.fleet.proxy import Proxy
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Handler

_SHOWN = 20  # proxies that are late and told by name
_TIMEOUT = "timeout"


class ProxyAdminApi:
    """Answers for the proxies that are connected to this server, and for no other server's."""

    def __init__(self, fleet: Fleet, clock: Callable[[], datetime]) -> None:
        self._fleet = fleet
        self._clock = clock

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """By the name of the call."""
        return {"ListProxies": self.list_proxies, "ShowProxies": self.show_proxies}

    def streams(self) -> dict[str, Handler]:
        """Those that answer more than once."""
        return {"WatchProxies": self.watch_proxies}

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

    async def watch_proxies(self, call: Call) -> None:
        """How it stands with a revision, by push, until the end or the timeout."""
        asked = await call.receive()
        if asked is None or not asked.revision:
            raise RingfenceError(Kind.INVALID, "the call names no revision")
        rights = present().rights
        question = Holding(
            self._fleet, asked.revision, asked.names, lambda proxy: visible((str(proxy.caller.spiffe_id),), rights)
        )
        last = Standing(Outcome.WAITING, "", 0, (), ())
        try:
            async with asyncio.timeout(asked.timeout_ms / 1000 or None):
                async for last in question.watch():
                    await call.send(self._told(last, last.outcome.value))
        except TimeoutError:
            await call.send(self._told(last, _TIMEOUT))

    def _told(self, standing: Standing, outcome: str) -> pb.WatchProxiesResponse:
        return pb.WatchProxiesResponse(
            outcome=outcome,
            revision=standing.revision,
            meant=standing.meant,
            holding=standing.meant - len(standing.late),
            late=[proxy.status(self._clock()) for proxy in sorted(standing.late, key=_worst_first)[:_SHOWN]],
            missing=standing.missing,
        )


def _worst_first(proxy: Proxy) -> tuple[bool, str, str]:
    return not proxy.has_refused, str(proxy.caller.spiffe_id), proxy.instance.node_id
