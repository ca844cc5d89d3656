"""Does what is due by the clock, on time, whatever comes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from ringfence.broker.log import log

_RETRY = timedelta(seconds=1)
_LONGEST_SLEEP = 30.0  # seconds: a clock that was set is noticed by then


class Timekeeper:
    """Calls *tick*, which does what is due and says when the next thing is, or None."""

    def __init__(self, tick: Callable[[], datetime | None], clock: Callable[[], datetime]) -> None:
        self._tick = tick
        self._clock = clock
        self._look = asyncio.Event()

    def look_again(self) -> None:
        """Something may be due at another time than was said."""
        self._look.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._look.clear()
            try:
                async with asyncio.timeout(self._sleep()):
                    await self._look.wait()
            except TimeoutError:
                continue

    def _sleep(self) -> float:
        """Seconds until the next thing is due, after what is due now was done."""
        try:
            due = self._tick()
        except Exception as error:  # noqa: BLE001  # rules must go on ending on time: it is tried again
            log.error("tick failed", error=type(error).__name__, exc_info=error)
            due = self._clock() + _RETRY
        wait = (due - self._clock()).total_seconds() if due is not None else _LONGEST_SLEEP
        return min(max(wait, 0.0), _LONGEST_SLEEP)
