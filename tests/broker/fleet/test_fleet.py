"""The fleet: changes reach the proxies that they touch, and only these, on time."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from ringfence.broker.fleet.fleet import Fleet
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.model import Model, Workload
from ringfence.xds.instance import Instance
from ringfence.xds.locality import Locality
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER
from tests.broker.fleet.world import MESH, NOW, PULL, Clock, FakeProxy, MemoryLog, compiled, fleet_of, model

UPSTREAM = "shared/registry/http"
SERVES = {"inbound": {"http": "127.0.0.1:4001"}}


async def test_a_change_is_compiled_for_the_proxies_that_it_touches_only() -> None:
    """An Allow between two workloads is no business of a third."""
    fleet = await fleet_of(MESH)
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    notebook = await FakeProxy(fleet, "team-b/notebook").start()
    before = fleet.counts.compiles
    untouched = len(notebook.call.sent)

    touched = fleet.apply(model(MESH + PULL))
    for proxy in (trainer, registry, notebook):
        await proxy.settle()

    assert touched == 2
    assert fleet.counts.compiles == before + 2
    assert len(notebook.call.sent) == untouched
    assert "team-a/pull@" in registry.holds[LISTENER]["shared/registry"]
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}


async def test_an_edit_that_means_the_same_touches_nobody() -> None:
    """A comment or another reason changes the revision, not the meaning."""
    fleet = await fleet_of()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()

    touched = fleet.apply(model("# a comment\n" + MESH + PULL))

    assert touched == 0
    assert trainer.proxy.status(NOW).state == "SYNCED"


async def test_endpoints_come_from_connected_proxies_and_outlive_them_by_a_grace() -> None:
    """A proxy that lost its stream still serves; ten seconds later it is believed to be gone."""
    clock, log = Clock(), MemoryLog()
    fleet = await fleet_of(clock=clock, log=log)
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}

    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}
    registry.leave()
    clock.forward(9)
    assert fleet.tick() is not None
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}
    clock.forward(1)
    assert fleet.tick() is None
    await trainer.settle()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}


async def test_a_proxy_that_comes_back_within_its_grace_changes_nothing() -> None:
    """Nor does the late end of its older stream."""
    clock = Clock()
    fleet = await fleet_of(clock=clock)
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    old = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await trainer.settle()
    sent = len(trainer.call.sent)

    await FakeProxy(fleet, "shared/registry", **SERVES).start()
    old.leave()
    clock.forward(3600)
    fleet.tick()
    await trainer.settle()

    assert len(trainer.call.sent) == sent
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}


async def test_only_ports_that_the_intent_knows_are_offered() -> None:
    """A proxy cannot invent a port for its workload."""
    fleet = await fleet_of()
    registry = FakeProxy(fleet, "shared/registry", inbound={"http": "127.0.0.1:1", "other": "127.0.0.1:2"})

    assert registry.proxy.status(NOW).inbound == ["http=127.0.0.1:1"]


async def test_one_node_id_of_two_workloads_is_two_proxies() -> None:
    """A claimed node id cannot push another workload's endpoints away."""
    clock = Clock()
    fleet = await fleet_of(clock=clock)
    trainer = await FakeProxy(fleet, "team-a/trainer", "same").start()
    await FakeProxy(fleet, "shared/registry", "same", **SERVES).start()
    notebook = await FakeProxy(fleet, "team-b/notebook", "same").start()
    notebook.leave()
    clock.forward(60)
    fleet.tick()
    await trainer.settle()

    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}


async def test_a_restarted_server_serves_the_endpoints_that_it_knew() -> None:
    """Until their proxies come back, or a minute has passed."""
    clock, log = Clock(), MemoryLog()
    first = await fleet_of(clock=clock, log=log)
    await FakeProxy(first, "shared/registry", **SERVES).start()
    await first._offers.journal.flush()

    second = await fleet_of(clock=clock, log=log)
    trainer = await FakeProxy(second, "team-a/trainer").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}
    clock.forward(60)
    second.tick()
    await trainer.settle()
    await second._offers.journal.flush()

    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}
    assert log.rows == []


async def test_a_log_that_cannot_be_written_costs_no_stream() -> None:
    """The endpoints are served from memory all the same."""
    log = MemoryLog()
    log.broken = RingfenceError(Kind.EXHAUSTED, "the disk is full")
    fleet = await fleet_of(log=log)
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await fleet._offers.journal.flush()
    await trainer.settle()

    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}


async def test_nothing_is_served_before_both_endpoints_and_intent_are_there() -> None:
    """No state before truth."""
    fleet = Fleet(compiled, MemoryLog(), clock=Clock())
    assert fleet.scopes is None
    fleet.apply(model())
    assert fleet.scopes is None
    await fleet.restore()
    assert fleet.scopes is not None


async def test_a_rule_ends_on_time() -> None:
    """Without any apply: the proxies that it touches are compiled again at its expiry."""
    clock = Clock()
    expiring = PULL.replace("owner: ml", 'owner: ml\n  expires: "2026-11-24T12:05:00Z"')
    fleet = await fleet_of(MESH + expiring, clock=clock)
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    assert "team-a/pull@" in registry.holds[LISTENER]["shared/registry"]

    due = fleet.tick()
    assert due is not None
    assert (due - NOW).total_seconds() == 300
    clock.forward(300)
    assert fleet.tick() is None
    await registry.settle()

    assert registry.holds[LISTENER]["shared/registry"] == "none"


async def test_a_workload_that_leaves_the_intent_loses_everything() -> None:
    """Its proxy is told to drop all it has, and others lose its endpoints; both come back with it."""
    fleet = await fleet_of()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()

    fleet.apply(model(MESH.rpartition("---")[0]))
    await registry.settle()
    await trainer.settle()
    assert registry.holds[LISTENER] == {}
    assert trainer.holds[CLUSTER] == {}

    fleet.apply(model())
    await registry.settle()
    await trainer.settle()
    assert list(registry.holds[LISTENER]) == ["shared/registry"]
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001"}


async def test_a_refusal_is_shown_with_the_line_that_caused_it() -> None:
    """In the words of the document, until the document is mended."""
    fleet = await fleet_of(MESH)
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    before = fleet.revision
    now = model()
    rule = now.rules[0]
    registry.refuses = "shared/registry"
    fleet.apply(now)
    await registry.settle()
    registry.refuses = ""
    (row,) = fleet.list_proxies()
    assert (row.state, row.revision) == ("NACK", before)
    assert "bad shared/registry" in row.detail
    assert fleet.counts.nacks == 1

    await registry.ask_with_error(rule.policy_id)
    (row,) = fleet.list_proxies()
    assert row.detail.startswith(f"intent.yaml:{rule.origin.line}: ")
    fleet.apply(model(MESH))
    await registry.settle()
    (row,) = fleet.list_proxies()
    assert (row.state, row.detail, row.revision) == ("SYNCED", "", fleet.revision)


async def test_a_slow_reader_gets_the_newest_snapshot_and_none_in_between() -> None:
    """Nothing piles up for it, and others are not held up."""
    fleet = await fleet_of(MESH)
    slow = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    gate = asyncio.Event()

    async def later(framed: object) -> None:
        await gate.wait()
        slow.call.room += 1
        assert slow.call.try_send(framed)  # type: ignore[arg-type]

    slow.call.send = later  # type: ignore[method-assign,assignment]
    slow.call.room = len(slow.call.sent)
    compiles = fleet.counts.compiles
    for reason in ("GET", "PUT", "POST", "HEAD"):
        fleet.apply(model(MESH + PULL.replace("owner: ml", f"owner: ml\n  http: [{{methods: [{reason}]}}]")))
        await asyncio.sleep(0)
    assert fleet.counts.compiles == compiles + 1

    gate.set()
    slow.call.room += 100
    for _ in range(5):
        await asyncio.sleep(0)
    await slow.settle()

    assert fleet.counts.compiles == compiles + 2
    assert fleet._scopes is not None
    assert slow.holds[LISTENER]["shared/registry"] == fleet._scopes.model.rules[0].policy_id


async def test_a_proxy_that_cannot_be_compiled_keeps_what_it_has_and_says_so() -> None:
    """And the others get theirs."""
    broken: set[str] = set()

    def fragile(part: Model, workload: Workload, instance: Instance, endpoints: Any, *, now: datetime) -> Snapshot:
        if workload.key in broken:
            raise KeyError(workload.key)
        return compiled(part, workload, instance, endpoints, now=now)

    fleet = Fleet(fragile, MemoryLog(), clock=Clock())
    await fleet.restore()
    fleet.apply(model(MESH))
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    broken.add("team-a/trainer")
    with capture_logs() as logged:
        fleet.apply(model())
        await trainer.settle()
        await registry.settle()

    assert [line["error"] for line in logged] == ["KeyError"]
    states = {row.spiffe_id.rpartition("/")[2]: row.state for row in fleet.list_proxies()}
    assert states == {"trainer": "NACK", "registry": "SYNCED"}
    assert trainer.holds[LISTENER] == {"team-a/trainer": "none"}


async def test_waiting_for_a_revision_ends_when_the_last_proxy_has_it() -> None:
    """And is false when another revision overtakes it."""
    fleet = await fleet_of(MESH)
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    fleet.apply(model())
    waiting = asyncio.create_task(fleet.wait_synced(fleet.revision))
    await asyncio.sleep(0)
    assert not waiting.done()
    await registry.settle()
    assert await waiting

    fleet.apply(model(MESH))
    overtaken = asyncio.create_task(fleet.wait_synced(fleet.revision))
    await asyncio.sleep(0)
    fleet.apply(model())
    assert not await overtaken


async def test_the_keeper_of_time_sleeps_until_something_is_due() -> None:
    """`run` applies an expiry by itself, and ends when it is cancelled."""
    clock = Clock()
    fleet = await fleet_of(clock=clock)
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    running = asyncio.create_task(fleet.run())
    await asyncio.sleep(0)
    clock.forward(-20)
    registry.leave()
    clock.forward(20)
    for _ in range(10):
        await asyncio.sleep(0)
    await trainer.settle()

    assert trainer.holds[ENDPOINT] == {UPSTREAM: "nobody"}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_callers_hear_where_those_they_call_run() -> None:
    """From the proxy while it is connected, from what was kept after a restart, and from other servers."""
    log = MemoryLog()
    first = await fleet_of(log=log)
    await FakeProxy(first, "shared/registry", locality=Locality("eu", "eu-1"), **SERVES).start()
    trainer = await FakeProxy(first, "team-a/trainer", "n2").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001 in eu-1"}
    await first._offers.journal.flush()

    second = await fleet_of(log=log)
    trainer = await FakeProxy(second, "team-a/trainer", "n2").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001 in eu-1"}

    third = await fleet_of()
    third.hear("shared/registry#n1", log.rows)
    trainer = await FakeProxy(third, "team-a/trainer", "n2").start()
    assert trainer.holds[ENDPOINT] == {UPSTREAM: "127.0.0.1:4001 in eu-1"}


async def test_whoever_waits_for_a_change_that_sends_nothing_is_told_at_once() -> None:
    """What is compiled anew may come out as it was: no proxy answers then, and none is late."""
    fleet = await fleet_of()
    trainer = await FakeProxy(fleet, "team-a/trainer").start()
    sent = len(trainer.call.sent)
    other = model(
        MESH + PULL + "---\nkind: Traffic\nmetadata: {name: t, namespace: shared}\nspec: {to: {workload: registry}}\n"
    )

    assert fleet.apply(other) == 1
    async with asyncio.timeout(30):
        assert await fleet.wait_synced(other.revision)
    assert len(trainer.call.sent) == sent
