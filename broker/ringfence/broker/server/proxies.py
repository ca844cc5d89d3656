"""The proxies' side of the server: the fleet, with its endpoints in the server's store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.fleet.ads import ProxyApi
from ringfence.broker.fleet.exports import METRICS
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.revoked import Revoked
from ringfence.broker.store import endpoints
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.engine import Store
from ringfence.policy.model import Model
from ringfence.proto.lane import Method
from ringfence.xds.compile import compile_snapshot


class StoredEndpoints:
    """The fleet's endpoint log in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self) -> list[EndpointRow]:
        """Everything that was kept."""
        return await self._store.run(endpoints.every)

    async def put(self, rows: list[EndpointRow]) -> None:
        """Keep *rows*."""
        await self._store.run(endpoints.put, rows)

    async def remove(self, node: str) -> None:
        """Forget what that proxy said."""
        await self._store.run(endpoints.remove, node)


class ServerProxies:
    """Every connected proxy of this server; nobody is served before the first `apply`."""

    def __init__(self, fleet: Fleet, revoked: Revoked, clock: Callable[[], datetime]) -> None:
        self.fleet = fleet
        self._revoked = revoked
        self._api = ProxyApi(fleet, clock)

    @classmethod
    async def load(cls, store: Store, revoked: Revoked, clock: Callable[[], datetime]) -> ServerProxies:
        """With the endpoints that were known before, and what is revoked before anybody is served."""
        fleet = Fleet(compile_snapshot, StoredEndpoints(store), clock=clock)
        await fleet.restore()
        fleet.revoke(revoked.current)
        METRICS.follow(fleet)
        return cls(fleet, revoked, clock)

    async def apply(self, model: Model) -> int:
        """Make *model* the one in force."""
        return self.fleet.apply(model)

    async def run(self) -> None:
        """Apply what time brings, and what is revoked, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.fleet.run())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        # This bell rings before that of the doorkeeper: a proxy hears what to let go of before its connection ends.
        with self._revoked.bell.listen() as changed:
            while True:
                self.fleet.revoke(self._revoked.current)
                await changed.wait()
                changed.clear()

    def list_proxies(self) -> Sequence[pb.ProxyStatus]:
        """One status a connected proxy."""
        return self.fleet.list_proxies()

    def methods(self) -> dict[str, Method]:
        """ADS and Describe."""
        return self._api.methods()
