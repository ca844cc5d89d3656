"""A small mesh, a clock that is set by hand, and proxies that answer like Envoy, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import Proxy
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.identities import Ranks
from ringfence.policy.model import Model, Workload
from ringfence.proto.lane import Framed
from ringfence.proto.status import Status
from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.locality import NOWHERE, Locality
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER
from tests.policy import intent
from tests.policy.intent import NOW
from tests.xds.streams import resource

REGISTRY = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec: {match: [{unix.uid: 1002}], serves: [{name: http, port: 8080, protocol: http}]}
"""
MESH = intent.joined(intent.MESH, intent.TRAINER, intent.NOTEBOOK, REGISTRY)
PULL = """---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  owner: ml
  reason: base model
"""


def model(text: str = MESH + PULL, *, now: datetime = NOW) -> Model:
    """What *text* means."""
    return intent.model_of(text, now=now)


class Clock:
    """A clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class MemoryLog:
    """An endpoint log that outlives its fleet; `broken` is raised instead of writing."""

    def __init__(self) -> None:
        self.rows: list[EndpointRow] = []
        self.broken: RingfenceError | None = None

    async def load(self) -> list[EndpointRow]:
        """All rows."""
        return list(self.rows)

    async def put(self, node: str, rows: list[EndpointRow]) -> None:
        """Keep them in place of what it said before."""
        if self.broken is not None:
            raise self.broken
        await self.remove(node)
        self.rows += rows

    async def remove(self, node: str) -> None:
        """Forget them."""
        self.rows = [row for row in self.rows if row.node != node]


def compiled(
    part: Model,
    workload: Workload,
    instance: Instance,
    endpoints: Mapping[tuple[str, str], tuple[Endpoint, ...]],
    *,
    now: datetime,
) -> Snapshot:
    """A stand-in for the real compiler: a listener that says which rules hold, and the endpoints."""
    rules = ",".join(r.policy_id for r in part.rules if r.expires is None or r.expires > now)
    pairs = [(LISTENER, resource(LISTENER, workload.key, rules or "none"))]
    for (key, port), found in endpoints.items():
        where = f"{key}/{port}"
        pairs.append((CLUSTER, resource(CLUSTER, where, "1", [(ENDPOINT, where)])))
        pairs.append((ENDPOINT, resource(ENDPOINT, where, ",".join(map(_told, found)) or "nobody")))
    return Snapshot.of(pairs, part.revision)


def _told(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}" + (f" in {endpoint.locality.zone}" if endpoint.locality.zone else "")


class FakeCall:
    """The sending side of a call: what was sent, and how much more the reader takes."""

    def __init__(self, room: int = 1000) -> None:
        self.done = False
        self.room = room
        self.sent: list[Framed] = []
        self.ended: Status | None = None

    def cut(self, status: Status) -> None:
        """End it."""
        self.done, self.ended = True, status

    def try_send(self, framed: Framed) -> bool:
        """Take it while there is room."""
        if self.room <= len(self.sent):
            return False
        self.sent.append(framed)
        return True

    async def send(self, framed: Framed) -> None:
        """A fake reader never makes room."""
        raise RingfenceError(Kind.TIMEOUT, f"{len(framed)} bytes wait")


class FakeProxy:
    """A proxy on a Delta stream which takes everything, or refuses what `refuses` names."""

    def __init__(
        self,
        fleet: Fleet,
        key: str,
        node: str = "n1",
        serial: str = "",
        locality: Locality = NOWHERE,
        rank: int | None = None,
        **metadata: Any,
    ) -> None:
        workload = fleet.scopes.model.workloads[key]  # type: ignore[union-attr]
        spiffe_id = workload.identity.rank(rank) if isinstance(workload.identity, Ranks) and rank is not None else None
        caller = Caller(spiffe_id or workload.spiffe_id, workload, NOW + timedelta(hours=1), serial)
        self.fleet = fleet
        self.call = FakeCall()
        self.read = 0
        self.holds: dict[str, dict[str, str]] = {LISTENER: {}, CLUSTER: {}, ENDPOINT: {}}
        self.refuses = ""
        instance = Instance.parse(node, {"ringfence": metadata}, locality=locality)
        self.proxy: Proxy = fleet.join(caller, instance, self.call, DeltaStream())

    async def start(self) -> FakeProxy:
        """Ask for everything."""
        await self.ask(DeltaRequest(CLUSTER))
        await self.ask(DeltaRequest(LISTENER))
        return await self.settle()

    async def ask(self, request: DeltaRequest) -> None:
        """Send one request."""
        await self.fleet.receive(self.proxy, request)

    async def settle(self) -> FakeProxy:
        """Read and answer until nothing is left, here and in the turns of the fleet, which may be several."""
        await asyncio.sleep(0)
        while self.read < len(self.call.sent) or self.fleet._turns._running:
            if self.read < len(self.call.sent):
                await self._answer(self.call.sent[self.read])
                self.read += 1
            await asyncio.sleep(0)
        return self

    async def _answer(self, framed: Framed) -> None:
        read: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(framed.data[5:])
        contents = {entry.name: entry.resource.value.decode().partition("=")[2] for entry in read.resources}
        if self.refuses and self.refuses in contents:
            error = f"bad {self.refuses}"
            await self.ask(DeltaRequest(read.type_url, nonce=read.nonce, error=error))
            return
        held = self.holds[read.type_url]
        held.update(contents)
        for name in read.removed_resources:
            held.pop(name, None)
        await self.ask(DeltaRequest(read.type_url, nonce=read.nonce))
        if read.type_url == CLUSTER and contents:
            await self.ask(DeltaRequest(ENDPOINT, tuple(contents)))

    async def ask_with_error(self, detail: str) -> None:
        """Name a resource again and refuse the answer with *detail*."""
        await self.ask(DeltaRequest(LISTENER, (self.proxy.caller.workload.key,)))
        read: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(self.call.sent[-1].data[5:])
        self.read = len(self.call.sent)
        await self.ask(DeltaRequest(LISTENER, nonce=read.nonce, error=detail))

    def leave(self) -> None:
        """Close the stream."""
        self.call.done = True
        self.fleet.leave(self.proxy)


async def fleet_of(text: str = MESH + PULL, *, clock: Clock | None = None, log: MemoryLog | None = None) -> Fleet:
    """A fleet that serves what *text* means."""
    fleet = Fleet(compiled, log or MemoryLog(), clock=clock or Clock())
    await fleet.restore()
    fleet.apply(model(text))
    return fleet
