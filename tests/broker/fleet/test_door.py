"""The door for new streams: in order, one a turn of the loop, no more a second than it says."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from ringfence.broker.fleet.door import Door


def test_so_many_at_once_and_then_one_after_the_other() -> None:
    """Three of a rate of ten a second; who comes later has earned them again."""
    door = Door(per_second=10, at_once=3)

    assert [round(door._wait(100.0), 6) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]
    assert round(door._wait(100.25), 6) == 0.05
    assert [round(door._wait(200.0), 6) for _ in range(4)] == [0, 0, 0, 0.1]


def test_a_machine_that_has_just_started_is_no_storm() -> None:
    """A monotonic clock may begin at 0: nobody has used any of the rate then."""
    door = Door(per_second=10, at_once=3)

    assert [round(door._wait(0.0), 6) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]


async def test_everybody_else_has_a_turn_between_two_who_come_in() -> None:
    """What answers ACKs runs as often as streams are let in, however many wait."""
    door, order = Door(per_second=1e9, at_once=1), []

    async def come(name: str) -> None:
        await door.enter()
        order.append(name)

    async def answer() -> None:
        while door.waiting:
            order.append("ack")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(come(f"stream {number}"))
        await asyncio.sleep(0)
        tasks.create_task(answer())

    streams = [name for name in order if name != "ack"]
    assert streams == [f"stream {number}" for number in range(50)]
    assert not any(a != "ack" and b != "ack" for a, b in pairwise(order))
    assert door.waiting == 0


async def test_whoever_leaves_while_it_waits_holds_up_nobody() -> None:
    """The next in the queue moves up."""
    door = Door(per_second=1e9, at_once=1)
    waiting = [asyncio.create_task(door.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    async with asyncio.timeout(30):
        await waiting[2]
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    assert door.waiting == 0
