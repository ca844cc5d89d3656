"""Thousands of streams that come back at once after the server was killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.door import Door
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import Proxy
from ringfence.broker.telemetry.spans import sent_to
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest
from ringfence.xds.instance import Instance
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER
from tests.broker.fleet.world import MESH, NOW, PULL, FakeCall, MemoryLog, compiled, fleet_of, model

MANY = 5_000
RESPONSE: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
KIB = 1024


class Comer:
    """A proxy that keeps the versions of what it holds, and brings them when it comes again."""

    def __init__(self, number: int, key: str, **metadata: Any) -> None:
        self.key = key
        self.instance = Instance.parse(f"n{number}", {"ringfence": metadata})
        self.versions: dict[str, dict[str, str]] = {CLUSTER: {}, LISTENER: {}, ENDPOINT: {}}
        self.sent: Counter[str] = Counter()  # resources by type since it came

    async def come(self, fleet: Fleet) -> Proxy:
        """Open a stream, ask for everything as Envoy does, and take it."""
        assert fleet.scopes is not None
        workload = fleet.scopes.model.workloads[self.key]
        self.call, self.sent = FakeCall(), Counter()
        caller = Caller(workload.spiffe_id, workload, NOW + timedelta(hours=1))
        proxy = fleet.join(caller, self.instance, self.call, DeltaStream())
        for url in (CLUSTER, LISTENER):
            await fleet.receive(proxy, DeltaRequest(url, initial=dict(self.versions[url])))
        await self.take(fleet, proxy)
        names = tuple(self.versions[CLUSTER])
        await fleet.receive(proxy, DeltaRequest(ENDPOINT, names, initial=dict(self.versions[ENDPOINT])))
        await self.take(fleet, proxy)
        return proxy

    async def take(self, fleet: Fleet, proxy: Proxy) -> None:
        """Accept what was sent."""
        while self.call.sent:
            read = RESPONSE.FromString(self.call.sent.pop(0).data[5:])
            for entry in read.resources:
                self.sent[read.type_url] += 1
                self.versions[read.type_url][entry.name] = entry.version
            assert not read.removed_resources
            await fleet.receive(proxy, DeltaRequest(read.type_url, nonce=read.nonce))


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4 * KIB


@pytest.mark.slow
async def test_streams_that_come_back_are_sent_nothing_that_they_hold() -> None:
    """5,000 of them: no cluster and no listener, endpoints once because they are asked for by name; little memory."""
    log = MemoryLog()
    first = await fleet_of(log=log)
    comers = [Comer(0, "shared/registry", inbound={"http": "127.0.0.1:4001"})]
    comers += [Comer(number, "team-a/trainer") for number in range(1, MANY)]
    for comer in comers:
        await comer.come(first)
    await first._offers.journal.flush()
    assert comers[-1].sent == {CLUSTER: 1, LISTENER: 1, ENDPOINT: 1}

    before = resident()
    second = await fleet_of(log=log)
    proxies = [await comer.come(second) for comer in comers]

    assert sum((comer.sent for comer in comers), Counter()) == {ENDPOINT: MANY - 1}
    assert all(proxy.stream.synced() for proxy in proxies)
    assert second.counts.compiles == MANY
    assert (resident() - before) / MANY < 40 * KIB


async def test_a_storm_of_streams_is_let_in_at_a_rate() -> None:
    """The rest waits its turn, and whoever is in is answered meanwhile."""
    door = Door(per_second=0.001, at_once=3)
    inside: list[int] = []

    async def come(number: int) -> None:
        await door.enter()
        inside.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(100)]
    for _ in range(20):
        await asyncio.sleep(0)

    assert inside == [0, 1, 2]
    assert door.waiting == 97
    for task in tasks:
        task.cancel()


async def test_nothing_is_said_before_the_first_snapshot_is_made() -> None:
    """A proxy that comes back while its snapshot cannot be made keeps what it has: an empty answer would delete it."""
    fleet = await fleet_of()
    comer = Comer(1, "team-a/trainer")
    await comer.come(fleet)
    held = {url: dict(named) for url, named in comer.versions.items()}

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no snapshot")

    fleet = await fleet_of()
    fleet._compiling._compiler = broken
    proxy = await comer.come(fleet)
    assert not comer.call.sent
    assert comer.versions == held

    fleet._compiling._compiler = compiled
    proxy.stream.dirty = True
    proxy.stream.pump()
    answered = [RESPONSE.FromString(framed.data[5:]).type_url for framed in comer.call.sent]
    assert answered == [CLUSTER, LISTENER, ENDPOINT]


async def test_requests_that_wait_for_the_first_snapshot_are_few() -> None:
    """A client that asks without end meanwhile loses its stream, not our memory."""
    fleet = await fleet_of()
    comer = Comer(1, "team-a/trainer")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no snapshot")

    fleet._compiling._compiler = broken
    proxy = await comer.come(fleet)

    async def pester() -> None:
        for _ in range(100):
            await fleet.receive(proxy, DeltaRequest(CLUSTER, ("x",)))

    with pytest.raises(RingfenceError) as refused:
        await pester()
    assert refused.value.kind is Kind.UNAVAILABLE


class Traced:
    """A span of a trace."""

    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    def set(self, name: str, value: object) -> None:
        """Not looked at."""


async def test_what_a_push_comes_from_is_said_beside_it() -> None:
    """The trace of the push, for whoever looks into a proxy; the same for all, so that equal bytes stay one object."""
    fleet = await fleet_of()
    comers = [Comer(number, "team-a/trainer") for number in range(2)]
    proxies = [await comer.come(fleet) for comer in comers]
    identifiers = []
    for text in (MESH, MESH + PULL):
        with sent_to(lambda _name, _attributes: nullcontext(Traced())) if text == MESH else nullcontext():
            fleet.apply(model(text))
            for proxy in proxies:
                proxy.stream.pump()
        assert comers[0].call.sent[-1] is comers[1].call.sent[-1]
        identifiers.append(RESPONSE.FromString(comers[0].call.sent[-1].data[5:]).control_plane.identifier)

    assert identifiers == [Traced.trace_id, ""]
