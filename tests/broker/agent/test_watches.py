"""A change is told to many open streams."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import pairwise

import pytest

from ringfence.broker.attest.launch import LaunchAttestor
from tests.broker.agent.watched import PROCESS, UID, FakeCaller, World, pushed


@pytest.fixture
def world() -> World:
    """A fresh one."""
    return World()


async def test_a_change_for_many_streams_leaves_turns_to_others(world: World) -> None:
    """All are marked at once, so that none shows what is gone; they are woken a few in each turn of the loop."""
    world.update(pushed("a"))
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
