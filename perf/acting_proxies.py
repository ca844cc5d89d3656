"""Proxies of a fleet without a network: they ask for all that Envoy asks for, take what is sent, and say so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import Proxy
from ringfence.policy.model import Workload
from ringfence.policy.scope import upstreams_of
from ringfence.proto.lane import Framed
from ringfence.proto.status import Status
from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest
from ringfence.xds.instance import Instance
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE

_PREFIX = 5  # bytes before a gRPC message


class NoLog:
    """An endpoint log that keeps nothing."""

    async def load(self) -> list[Any]:
        """Nothing."""
        return []

    async def put(self, node: str, rows: list[Any]) -> None:
        """Nothing is kept."""

    async def remove(self, node: str) -> None:
        """Nothing was kept."""


class Taking:
    """The sending side of a call whose reader has room for everything."""

    def __init__(self) -> None:
        self.done = False
        self.sent: list[Framed] = []

    def try_send(self, framed: Framed) -> bool:
        """Take it."""
        self.sent.append(framed)
        return True

    async def send(self, framed: Framed) -> None:
        """Take it."""
        self.sent.append(framed)

    def cut(self, status: Status) -> None:  # noqa: ARG002 - the lane's signature
        """End."""
        self.done = True


class ActingProxy:
    """One proxy on a Delta stream, with an address for every port and upstream of its workload."""

    def __init__(self, fleet: Fleet, workload: Workload) -> None:
        model = fleet.scopes.model if fleet.scopes is not None else None
        if model is None:
            raise RuntimeError("the fleet serves nobody yet")
        self.workload = workload
        self.instance = Instance(
            "node",
            {port.name: ("10.0.0.1", 15_000 + index) for index, port in enumerate(workload.serves)},
            {up.name: ("127.0.0.1", 20_000 + index) for index, up in enumerate(upstreams_of(model, workload))},
        )
        caller = Caller(workload.spiffe_id, workload, datetime.now(UTC) + timedelta(hours=1))
        self._fleet = fleet
        self._call = Taking()
        self._proxy: Proxy = fleet.join(caller, self.instance, self._call, DeltaStream())

    async def start(self) -> None:
        """Ask for everything, and take it."""
        for url in (CLUSTER, LISTENER):
            await self._fleet.receive(self._proxy, DeltaRequest(url))
        for url in (ENDPOINT, ROUTE, EXTENSION_CONFIG):
            names = tuple(self._proxy.stream.snapshot.named(url))
            await self._fleet.receive(self._proxy, DeltaRequest(url, subscribe=names))
        await self.take()

    async def take(self) -> int:
        """ACK what came since the last time; how many responses that was."""
        came, self._call.sent = self._call.sent, []
        for framed in came:
            read: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(framed.data[_PREFIX:])
            await self._fleet.receive(self._proxy, DeltaRequest(read.type_url, nonce=read.nonce))
        return len(came)
