"""Streams that wait for an identity and are told of each change."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch
from ringfence.broker.agent.workload_api import has_svids, is_entitled
from ringfence.certs.errors import RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.proto.status import Code, Status
from tests.broker.agent.watched import HASH, UID, World, end_of, ids_of, pushed, views_of


@pytest.fixture
def world() -> World:
    """A fresh one."""
    return World()


async def test_a_view_comes_when_its_svids_have(world: World) -> None:
    """Only what a live stream matches is asked for, and the view waits for all of it."""
    world.update(pushed("a"), pushed("b", Selector("unix", "uid:2")))
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        assert world.issue() == ["a"]
        assert ids_of(await anext(views_of(watch))) == ["a"]


async def test_nothing_is_sent_to_a_process_that_has_gone(world: World) -> None:
    """Before each view the process is checked; one that ended between two views gets no second."""
    world.update(pushed("a"))
    with world.watches.open(world.caller) as watch:
        views = views_of(watch)
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
        world.update(pushed("a", UID, HASH))
        view = await watch.first(is_entitled)
        assert [entry.id for entry in view.entries] == ["a"]
        assert world.callers.again_for == [world.caller]


async def test_equal_views_are_sent_once(world: World) -> None:
    """A change that this caller does not see sends nothing, and the hold's end is no end for who was served."""
    world.update(pushed("a"))
    with world.watches.open(world.caller) as watch:
        views = views_of(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        first = await anext(views)
        watch.mark(match=True)
        watch.wake()
        world.update(pushed("b"))
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[1])
        world.issue()
        assert (ids_of(first), ids_of(await anext(views))) == (["a"], ["a", "b"])


async def test_the_hold_ends_in_words() -> None:
    """Nothing heard from the server is UNAVAILABLE, nothing registered DENIED, nothing issued UNAVAILABLE."""
    world = World(hold=0.01)
    world.cache.synced = False
    with world.watches.open(world.caller) as watch:
        assert await end_of(views_of(watch)) is Code.UNAVAILABLE
        world.update()
        assert await end_of(views_of(watch)) is Code.PERMISSION_DENIED
        world.update(pushed("a"))
        assert await end_of(views_of(watch)) is Code.UNAVAILABLE


async def test_a_refused_svid_does_not_hold_up_the_others(world: World) -> None:
    """When the server refuses one identity, the caller gets the others."""
    world.update(pushed("a"), pushed("b"))
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        world.cache.refuse("b", "no")
        world.cache.needs.add(watch.entries[0])
        assert "a" in world.issue()
        assert "a" in ids_of(await anext(views_of(watch)))


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
    world.update(pushed("a"))
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
    world.update(pushed("a"))
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
    world.update(pushed("a"))
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
    world.update(pushed("a"))
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
