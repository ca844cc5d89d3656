"""The door for new streams: in order, a few a turn of the loop, no more a second than it says."""

from __future__ import annotations

import asyncio
from itertools import groupby

import pytest

from ringfence.broker.fleet.door import A_TURN, Door


def test_so_many_at_once_and_then_one_after_the_other() -> None:
    """Three of a rate of ten a second; who comes later has earned them again."""
    door = Door(per_second=10, at_once=3)

    assert [round(door._until_next(100.0), 6) for _ in range(5)] == [0, 0, 0, 0.1, 0.1]
    assert round(door._until_next(100.05), 6) == 0.05
    assert [round(door._until_next(100.1), 6) for _ in range(2)] == [0, 0.1]
    assert [round(door._until_next(200.0), 6) for _ in range(4)] == [0, 0, 0, 0.1]


def test_a_machine_that_has_just_started_is_no_storm() -> None:
    """A monotonic clock may begin at 0: nobody has used any of the rate then."""
    door = Door(per_second=10, at_once=3)

    assert [round(door._until_next(0.0), 6) for _ in range(4)] == [0, 0, 0, 0.1]


async def test_everybody_else_has_a_turn_between_a_few_who_come_in() -> None:
    """What answers ACKs runs every so many streams, however many wait; they come in in their order."""
    door, order = Door(per_second=1e9, at_once=1), []

    async def come(name: str) -> None:
        await door.enter()
        order.append(name)

    async def answer() -> None:
        while len(order) - order.count("ack") < 10 * A_TURN:
            order.append("ack")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10 * A_TURN):
            tasks.create_task(come(f"stream {number}"))
        tasks.create_task(answer())

    streams = [name for name in order if name != "ack"]
    assert streams == [f"stream {number}" for number in range(10 * A_TURN)]
    runs = [len(list(run)) for is_ack, run in groupby(order, lambda name: name == "ack") if not is_ack]
    assert max(runs) <= A_TURN
    assert len(runs) > 1
    assert door.waiting == 0


async def test_they_come_in_at_the_rate_that_it_says() -> None:
    """The last of 30 at a thousand a second is not there before 29 thousandths: a bound from below never hangs."""
    door = Door(per_second=1000, at_once=1)
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for _ in range(30):
            tasks.create_task(door.enter())

    assert asyncio.get_running_loop().time() - began >= 0.029 - 0.001


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
