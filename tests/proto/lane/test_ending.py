"""Tests of the event that a connection ends with."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.proto.lane.ending import Ending


async def test_cancelled_waiter_spoils_nothing() -> None:
    """One waiter that gives up takes the end from no other."""
    ending = Ending()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ending, 0)
    assert not ending.done()
    waiting = asyncio.ensure_future(ending)
    ending.set()
    await waiting
    assert ending.done()


async def test_callbacks_before_and_after() -> None:
    """A callback runs once, whether it came before the end or after."""
    ending = Ending()
    seen: list[str] = []
    ending.add_done_callback(lambda _: seen.append("before"))
    ending.set()
    ending.set()
    ending.add_done_callback(lambda _: seen.append("after"))
    await asyncio.sleep(0)
    assert seen == ["before", "after"]
