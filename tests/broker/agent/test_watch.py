"""Streams that wait for an identity and are told of each change."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.callers import Caller
from ringfence.broker.agent.svids import HeldSvid, new_key
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch, Watches
from ringfence.broker.agent.workload_api import has_svids, is_entitled
from ringfence.broker.attest import procfs
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.status import Code, Status

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
UID = Selector("unix", "uid:1")
HASH = Selector("unix", "sha256:" + "0" * 64)
PROCESS = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)


class FakeCaller(Caller):
    """A caller whose process ends when the test says so."""

    gone = False

    def check(self) -> None:
        """As procfs.check, by the test's word."""
        if self.gone:
            raise RingfenceError(Kind.DENIED, "gone")


@dataclass
class FakeCallers:
    """Attests anew by adding what is now wanted."""

    again_for: list[Caller] = field(default_factory=list)

    async def again(self, caller: Caller) -> Caller:
        """The same process with a hash."""
        self.again_for.append(caller)
        return FakeCaller(PROCESS, frozenset({UID, HASH}), frozenset({"unix:uid", "unix:sha256"}), LaunchAttestor())


class World:
    """A cache with an authority behind it, and watches."""

    def __init__(self, *, hold: float = 5.0) -> None:
        self.authority = Authority.create(TrustDomain("example.org"), MemoryKeys(), now=NOW)
        self.cache = Cache(self.authority.bundle(1), clock=lambda: NOW)
        self.callers = FakeCallers()
        self.watches = Watches(self.cache, self.callers, hold=hold)  # type: ignore[arg-type]
        self.cache.listen(self.watches)
        self.caller = FakeCaller(PROCESS, frozenset({UID}), frozenset({"unix:uid"}), LaunchAttestor())
        self.update()

    def update(self, *entries: agent_pb2.Entry, **fields: Any) -> None:
        """Entries pushed by the server."""
        self.cache.on_entries(agent_pb2.EntriesUpdate(upserts=entries, **fields))

    def issue(self) -> list[str]:
        """Answer all that the cache needs; the ids of the entries."""
        needs = self.cache.take_needs()
        for entry in needs:
            key = new_key()
            chain = self.authority.issue_x509(entry.spiffe_id, key.public_key(), now=NOW, ttl=timedelta(hours=1))
            self.cache.put(entry, HeldSvid.of(chain, key, entry.spiffe_id, 0.0))
        return [entry.id for entry in needs]


def _entry(entry_id: str, *selectors: Selector, **fields: Any) -> agent_pb2.Entry:
    texts = [str(selector) for selector in selectors or (UID,)]
    return agent_pb2.Entry(id=entry_id, spiffe_id=f"spiffe://example.org/{entry_id}", selectors=texts, **fields)


def _views(watch: Watch) -> AsyncIterator[View]:
    return watch.views(has_svids, lambda view: view.key)


def _ids(view: View) -> list[str]:
    return [entry.id for entry, _ in view.held]


async def _status(views: AsyncIterator[View]) -> Code:
    with pytest.raises(Status) as caught:
        await anext(views)
    return caught.value.code


@pytest.fixture
def world() -> World:
    """A fresh one."""
    return World()


async def test_a_view_comes_when_its_svids_have(world: World) -> None:
    """Only what a live stream matches is asked for, and the view waits for all of it."""
    world.update(_entry("a"), _entry("b", Selector("unix", "uid:2")))
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        assert world.issue() == ["a"]
        assert _ids(await anext(_views(watch))) == ["a"]


async def test_nothing_is_sent_to_a_process_that_has_gone(world: World) -> None:
    """Before each view the process is checked; one that ended between two views gets no second."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        views = _views(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        await anext(views)
        world.caller.gone = True
        watch.mark()
        watch.wake()
        with pytest.raises(RingfenceError, match="gone"):
            await anext(views)


async def test_other_facts_are_looked_for_when_an_entry_asks(world: World) -> None:
    """An entry that asks for a hash, which was not looked for, has the caller attested anew and may then match."""
    with world.watches.open(world.caller) as watch:
        world.update(_entry("a", UID, HASH))
        view = await watch.first(is_entitled)
        assert [entry.id for entry in view.entries] == ["a"]
        assert world.callers.again_for == [world.caller]


async def test_equal_views_are_sent_once(world: World) -> None:
    """A change that this caller does not see sends nothing, and the hold's end is no end for who was served."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        views = _views(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        first = await anext(views)
        watch.mark(match=True)
        watch.wake()
        world.update(_entry("b"))
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[1])
        world.issue()
        assert (_ids(first), _ids(await anext(views))) == (["a"], ["a", "b"])


async def test_a_change_for_many_streams_leaves_turns_to_others(world: World) -> None:
    """All are marked at once, so that none shows what is gone; they are woken a few in each turn of the loop."""
    world.update(_entry("a"))
    with ExitStack() as open_:
        watches = [open_.enter_context(world.watches.open(world.caller)) for _ in range(1_000)]
        for watch in watches:
            watch._touched = False
        waiting = [asyncio.ensure_future(watch._change()) for watch in watches]
        await asyncio.sleep(0)
        world.watches.on_bundles()
        assert all(watch._touched for watch in watches)
        turns = []
        while not all(each.done() for each in waiting):
            await asyncio.sleep(0)
            turns.append(sum(each.done() for each in waiting))
    assert len(turns) >= 8
    assert turns[0] < 500


async def test_the_hold_ends_in_words() -> None:
    """Nothing heard from the server is UNAVAILABLE, nothing registered DENIED, nothing issued UNAVAILABLE."""
    world = World(hold=0.01)
    world.cache.synced = False
    with world.watches.open(world.caller) as watch:
        assert await _status(_views(watch)) is Code.UNAVAILABLE
        world.update()
        assert await _status(_views(watch)) is Code.PERMISSION_DENIED
        world.update(_entry("a"))
        assert await _status(_views(watch)) is Code.UNAVAILABLE


async def test_a_refused_svid_does_not_hold_up_the_others(world: World) -> None:
    """When the server refuses one identity, the caller gets the others."""
    world.update(_entry("a"), _entry("b"))
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        world.cache.refuse("b", "no")
        world.cache.needs.add(watch.entries[0])
        assert "a" in world.issue()
        assert "a" in _ids(await anext(_views(watch)))


async def test_a_revoked_identity_is_served_no_longer(world: World) -> None:
    """A revocation ends the stream at once; the identity comes back only with its entry made anew."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        views = _views(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        await anext(views)
        world.cache.on_revocations(agent_pb2.Revocations(spiffe_ids=["spiffe://example.org/a"]))
        assert await _status(views) is Code.PERMISSION_DENIED
    assert world.cache.matching(frozenset({UID})) == ()
    world.update(_entry("a"))
    assert [entry.id for entry in world.cache.matching(frozenset({UID}))] == ["a"]


async def test_a_revocation_reaches_who_still_waits(world: World) -> None:
    """A caller whose SVID is still to come is told as well: it has nothing to wait for."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        views = watch.views(is_entitled, lambda view: view.entitled)
        await anext(views)
        world.cache.on_revocations(agent_pb2.Revocations(spiffe_ids=["spiffe://example.org/a"]))
        assert await _status(views) is Code.PERMISSION_DENIED


async def test_a_revoked_serial_is_issued_again(world: World) -> None:
    """A revoked serial is replaced, under the same identity."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        views = _views(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        first = (await anext(views)).held[0][1]
        serial = first.serial.to_bytes(16, "big")
        world.cache.on_revocations(agent_pb2.Revocations(serials=[serial]))
        world.cache.view(watch.entries)
        assert world.issue() == ["a"]
        assert (await anext(views)).held[0][1].serial != first.serial


async def test_an_svid_of_an_entry_that_changed_meanwhile_is_left_out(world: World) -> None:
    """An answer that comes after the entry got another DNS name is not served: it is asked for again."""
    world.update(_entry("a"))
    entry = world.cache.matching(frozenset({UID}))[0]
    key = new_key()
    chain = world.authority.issue_x509(entry.spiffe_id, key.public_key(), now=NOW, ttl=timedelta(hours=1))
    world.update(_entry("a", dns_names=["x.example"]))
    world.cache.put(entry, HeldSvid.of(chain, key, entry.spiffe_id, 0.0))
    assert world.cache.svids.get("a", NOW) is None
    assert [need.dns_names for need in world.cache.take_needs()] == [("x.example",)]


def _rule(**fields: Any) -> agent_pb2.Entry:
    return agent_pb2.Entry(id="r", spiffe_id="spiffe://example.org", template="/u/{unix.uid}", **fields)


async def test_an_instance_of_a_rule_is_served_and_ends_with_the_rule(world: World) -> None:
    """Issued under its own id; when the rule goes, so do its SVID and the stream."""
    world.update(_rule())
    with world.watches.open(world.caller) as watch:
        views = _views(watch)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(views)
        assert world.issue() == ["r#/u/1"]
        views = _views(watch)
        assert _ids(await anext(views)) == ["r#/u/1"]
        world.update(removed=["r"])
        assert len(world.cache.svids) == 0
        assert await _status(views) is Code.PERMISSION_DENIED


async def test_a_rule_that_changes_makes_its_instances_anew(world: World) -> None:
    """Another template, other DNS names: the SVIDs in use are of the past."""
    world.update(_rule())
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        assert world.issue() == ["r#/u/1"]
        world.update(_rule(dns_names=["a.example"]))
        assert len(world.cache.svids) == 0
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        assert world.issue() == ["r#/u/1"]


async def test_an_entry_ends_on_time_without_the_server(world: World) -> None:
    """The agent's own clock ends it: no match, no SVID, and the streams learn it."""
    now = NOW
    world.cache.clock = lambda: now
    world.update(_entry("a", expires_at=int(NOW.timestamp()) + 60))
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        world.issue()
        views = _views(watch)
        assert _ids(await anext(views)) == ["a"]
        world.cache.end_entries()
        assert len(world.cache.book) == 1
        now += timedelta(seconds=60)
        assert world.cache.matching(frozenset({UID})) == ()
        world.cache.end_entries()
        assert (len(world.cache.book), len(world.cache.svids)) == (0, 0)
        assert await _status(views) is Code.PERMISSION_DENIED


async def test_what_is_for_a_store_is_not_served_to_workloads(world: World) -> None:
    """store_svid keeps an entry off the Workload API."""
    world.update(_entry("a", store_svid=True))
    assert world.cache.matching(frozenset({UID})) == ()


class Sent:
    """A stream whose views go to `views` at once while `room`, and to its task's list else."""

    def __init__(self, world: World, watch: Watch) -> None:
        self.room = True
        self.views: list[View] = []
        self.by_task: list[View] = []
        self.task = asyncio.ensure_future(self._run(world, watch))

    async def _run(self, world: World, watch: Watch) -> None:
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        async for view in watch.views(has_svids, lambda view: view.key, send=self._send):
            self.by_task.append(view)

    def _send(self, view: View) -> bool:
        if self.room:
            self.views.append(view)
        return self.room


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _other_bundle(world: World, sequence: int) -> None:
    world.cache.on_bundle(agent_pb2.BundleUpdate(bundle=world.authority.bundle(sequence).to_json()))


async def test_a_change_is_sent_without_the_streams_task(world: World) -> None:
    """The first view is the task's; later ones are sent where the change is told, and a slow reader's by its task."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        sent = Sent(world, watch)
        await _turns()
        assert (len(sent.by_task), sent.views) == (1, [])
        _other_bundle(world, 2)
        assert (len(sent.by_task), len(sent.views)) == (1, 1)
        await _turns()
        assert len(sent.by_task) == 1
        sent.room = False
        _other_bundle(world, 3)
        await _turns()
        assert [view.bundles.own.sequence for view in (*sent.views, *sent.by_task[1:])] == [2, 3]
        sent.task.cancel()


async def test_nothing_is_sent_at_once_to_a_process_that_has_gone(world: World) -> None:
    """The check comes before the sending there, too; the stream ends by it."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        sent = Sent(world, watch)
        await _turns()
        world.caller.gone = True
        _other_bundle(world, 2)
        with pytest.raises(RingfenceError, match="gone"):
            await sent.task
        assert (len(sent.by_task), sent.views) == (1, [])


async def test_a_withdrawal_is_not_sent_at_once_but_ends_the_stream(world: World) -> None:
    """What takes a new match is the task's: nothing is shown by entries of before."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        sent = Sent(world, watch)
        await _turns()
        world.update(removed=["a"])
        _other_bundle(world, 2)
        with pytest.raises(Status, match="no identity issued"):
            await sent.task
        assert sent.views == []


async def test_a_caller_that_lost_its_launcher_is_matched_anew(world: World) -> None:
    """What its launcher vouched for is not sent once more: the task asks who vouches now."""
    world.update(_entry("a"))
    with world.watches.open(world.caller) as watch:
        sent = Sent(world, watch)
        await _turns()
        lost = iter([True])
        world.caller.lost_its_launcher = lambda: next(lost, False)  # type: ignore[method-assign]
        looked: list[bool] = []
        world.caller.look_up = lambda: looked.append(True)  # type: ignore[method-assign]
        _other_bundle(world, 2)
        assert sent.views == []
        await _turns()
        assert looked == [True]
        assert len(sent.by_task) == 2
        sent.task.cancel()


async def test_a_callers_streams_are_shown_a_change_in_a_row(world: World) -> None:
    """However they were opened among others', so that it is looked at once for all of them."""
    others = [FakeCaller(PROCESS, frozenset({UID}), frozenset({"unix:uid"}), LaunchAttestor()) for _ in range(9)]
    with ExitStack() as open_:
        watches = [open_.enter_context(world.watches.open(caller)) for _ in range(3) for caller in others]
        order: list[int] = []
        for watch in watches:
            watch.wake = lambda watch=watch: order.append(id(watch.caller))  # type: ignore[method-assign,misc]
        world.watches.on_bundles()
    changes = sum(one != other for one, other in pairwise(order))
    assert (len(order), changes) == (27, 8)
