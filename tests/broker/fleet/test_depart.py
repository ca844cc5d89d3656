"""Proxies that say goodbye: callers hear of it first, and the one who leaves hears that they have."""

from __future__ import annotations

import asyncio

from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import node_of
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.xds.types import ENDPOINT
from tests.broker.fleet.world import MESH, NOW, PULL, FakeProxy, MemoryLog, fleet_of, model

UPSTREAM = "shared/registry/http"
SERVES = {"inbound": {"http": "127.0.0.1:4001"}}
NODE = node_of("shared/registry", "r")


def leaving(fleet: Fleet, node: str = NODE) -> asyncio.Task[int]:
    """A goodbye under way; a minute of patience is longer than any test."""
    return asyncio.create_task(fleet.depart(node, patience=60))


async def heard(goodbye: asyncio.Task[int], caller: FakeProxy) -> int:
    """Its answer, while *caller* reads and acknowledges."""
    while not goodbye.done():
        await caller.settle()
    return await goodbye


async def test_a_goodbye_ends_when_every_caller_has_acknowledged_it() -> None:
    """While its stream is open and without its grace."""
    log = MemoryLog()
    fleet = await fleet_of(log=log)
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    registry = await FakeProxy(fleet, "shared/registry", "r", **SERVES).start()
    await FakeProxy(fleet, "team-b/notebook").start()
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}

    goodbye = leaving(fleet)
    await asyncio.sleep(0)
    assert not goodbye.done()
    assert await heard(goodbye, trainer) == 1
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}
    assert registry.proxy.status(NOW).inbound == []
    await fleet._offers.journal.flush()
    assert log.rows == []


async def test_whoever_said_goodbye_is_not_offered_again() -> None:
    """A change of intent, or the end of its stream, brings nothing back."""
    fleet = await fleet_of()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    registry = await FakeProxy(fleet, "shared/registry", "r", **SERVES).start()
    await heard(leaving(fleet), trainer)

    fleet.apply(model(MESH + PULL.replace("owner: ml", "owner: other") + PULL.replace("pull", "push")))
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}
    registry.leave()
    assert fleet.tick() is not None
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}


async def test_a_caller_that_refuses_its_configuration_is_not_waited_for() -> None:
    """Nor is one that leaves meanwhile; one that only does not answer is, for as long as there is patience."""
    fleet = await fleet_of()
    refusing = FakeProxy(fleet, "team-a/trainer")
    refusing.refuses = "team-a/trainer"
    await refusing.start()
    gone = await FakeProxy(fleet, "team-a/trainer", "n2").start()
    await FakeProxy(fleet, "shared/registry", "r", **SERVES).start()
    await refusing.settle()
    await gone.settle()

    goodbye = leaving(fleet)
    await asyncio.sleep(0)
    gone.leave()
    assert await goodbye == 2
    await FakeProxy(fleet, "shared/registry", "s", **SERVES).start()
    await FakeProxy(fleet, "team-a/trainer", "n3").start()
    assert await fleet.depart(node_of("shared/registry", "s"), patience=0) == 2


async def test_what_was_only_kept_of_a_proxy_is_forgotten() -> None:
    """It may say goodbye to a server that was restarted meanwhile; of a stranger there is nothing to forget."""
    log = MemoryLog()
    log.rows = [EndpointRow("shared/registry", "http", "127.0.0.1", 4001, NODE)]
    fleet = await fleet_of(log=log)
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}
    assert await fleet.depart(node_of("team-b/notebook", "r"), patience=60) == 0
    assert await heard(leaving(fleet), trainer) == 1
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}


async def test_a_proxy_of_another_server_leaves_when_that_server_says_so() -> None:
    """And the goodbye here ends when the callers here hold that."""
    fleet = await fleet_of()
    fleet.hear(NODE, [EndpointRow("shared/registry", "http", "127.0.0.1", 4001, NODE, "other")])
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    goodbye = leaving(fleet)
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}
    assert not goodbye.done()

    fleet.hear(NODE, [])
    assert await heard(goodbye, trainer) == 1
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}
