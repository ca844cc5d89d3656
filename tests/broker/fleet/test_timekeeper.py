"""What is due by the clock is done, whatever went wrong once."""

from __future__ import annotations

import asyncio
from datetime import datetime

from structlog.testing import capture_logs

from ringfence.broker.fleet.timekeeper import Timekeeper
from tests.broker.world import Clock


async def test_a_failing_tick_is_tried_again() -> None:
    """Rules go on ending on time."""
    failures = iter([KeyError("once")])
    ticked = asyncio.Event()

    def fragile() -> datetime | None:
        for failure in failures:
            raise failure
        ticked.set()
        return None

    keeper = Timekeeper(fragile, Clock())
    with capture_logs() as logged:
        running = asyncio.create_task(keeper.run())
        await asyncio.sleep(0)
        keeper.look_again()
        async with asyncio.timeout(30):
            await ticked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert [line["event"] for line in logged] == ["tick failed"]
