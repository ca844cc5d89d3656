"""The proxies' side of the server: the fleet, with its endpoints in the server's store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ringfence.broker.bell import Bell
from ringfence.broker.fleet.ads import ProxyApi
from ringfence.broker.fleet.exports import METRICS
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.revoked import Revoked
from ringfence.broker.store import endpoints
from ringfence.broker.store.authority import SERVER
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.store.engine import Store
from ringfence.broker.token_keys import TokenKeys
from ringfence.broker.trust import Trust
from ringfence.policy.model import Model
from ringfence.policy.token_rules import with_keys
from ringfence.proto.lane import Method
from ringfence.xds.compile import compile_snapshot


class StoredEndpoints:
    """The fleet's endpoint log in the store, and what the proxies of other servers said."""

    def __init__(self, store: Store, server: str) -> None:
        self._store = store
        self._server = server

    async def load(self) -> list[EndpointRow]:
        """What this server kept."""
        return [row for row in await self._store.run(endpoints.every) if self._is_ours(row)]

    async def put(self, node: str, rows: list[EndpointRow]) -> None:
        """Keep *rows* as all that *node* says."""
        await self._store.run(endpoints.put, node, [replace(row, server=self._server) for row in rows])

    async def remove(self, node: str) -> None:
        """Forget what that proxy said, unless it is connected to another server now."""
        await self._store.run(endpoints.remove, node, self._server)

    async def elsewhere(self, only: frozenset[str] | None) -> dict[str, list[EndpointRow]]:
        """By proxy, what other servers kept: of *only*, each of which is there, or of all."""
        found: dict[str, list[EndpointRow]] = {node: [] for node in only or ()}
        for row in await self._store.run(endpoints.every, only):
            if not self._is_ours(row):
                found.setdefault(row.node, []).append(row)
        return found

    def _is_ours(self, row: EndpointRow) -> bool:
        return row.server in {"", self._server}


# Seconds from a change of authorities until proxies are made to connect anew: by then all of them have the bundle.
_SETTLING = 2.0


class ServerProxies:
    """Every connected proxy of this server; nobody is served before the first `apply`."""

    def __init__(
        self,
        fleet: Fleet,
        kept: StoredEndpoints,
        revoked: Revoked,
        trust: Trust,
        bell: Bell,
        clock: Callable[[], datetime],
        keys: TokenKeys,
    ) -> None:
        self.fleet = fleet
        self._keys = keys
        self._intended: Model | None = None  # as the documents have it, without fetched keys
        self._kept = kept
        self._revoked = revoked
        self._trust = trust
        self._bell = bell
        self._api = ProxyApi(fleet, clock)

    @classmethod
    async def load(
        cls,
        store: Store,
        revoked: Revoked,
        trust: Trust,
        bell: Bell,
        clock: Callable[[], datetime],
        keys: TokenKeys,
        *,
        server: str = SERVER,
    ) -> ServerProxies:
        """With the endpoints and *keys* that were known before, and what is revoked before anybody is served."""
        await keys.load()
        kept = StoredEndpoints(store, server)
        fleet = Fleet(compile_snapshot, kept, clock=clock)
        await fleet.restore()
        fleet.revoke(revoked.current)
        fleet.distrust(trust.tainted & trust.issuers)
        METRICS.follow(fleet)
        proxies = cls(fleet, kept, revoked, trust, bell, clock, keys)
        if server != SERVER:
            await proxies.hear(None)
        return proxies

    async def hear(self, nodes: frozenset[str] | None) -> None:
        """Take in where the proxies of other servers are served."""
        found = await self._kept.elsewhere(nodes)
        for node in found.keys() | (self.fleet.elsewhere() if nodes is None else set()):
            self.fleet.hear(node, found.get(node, []))

    async def apply(self, model: Model) -> int:
        """Make *model* the one in force, with the keys of token issuers that are known."""
        self._intended = model
        self._keys.want(model.issuers.values())
        return self.fleet.apply(with_keys(model, self._keys.current()))

    async def run(self) -> None:
        """Apply what time brings, and what is revoked, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.fleet.run())
            tasks.create_task(self._follow())
            tasks.create_task(self._outlive_authorities())
            tasks.create_task(self._keys.run())
            tasks.create_task(self._follow_keys())

    async def _follow(self) -> None:
        # This bell rings before that of the doorkeeper: a proxy hears what to let go of before its connection ends.
        with self._revoked.bell.listen() as changed:
            while True:
                self.fleet.revoke(self._revoked.current)
                await changed.wait()
                changed.clear()

    async def _follow_keys(self) -> None:
        with self._keys.bell.listen() as changed:
            while True:
                await changed.wait()
                changed.clear()
                if self._intended is not None:
                    self.fleet.apply(with_keys(self._intended, self._keys.current()))

    async def _outlive_authorities(self) -> None:
        with self._bell.listen() as changed:
            while True:
                await changed.wait()
                changed.clear()
                if self._trust.tainted & self._trust.issuers != self.fleet.tainted:
                    await asyncio.sleep(_SETTLING)
                    self.fleet.distrust(self._trust.tainted & self._trust.issuers)

    def methods(self) -> dict[str, Method]:
        """ADS and Describe."""
        return self._api.methods()
