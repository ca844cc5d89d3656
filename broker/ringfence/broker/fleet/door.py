"""Lets new streams in one at a time, at a bounded rate: thousands that come back at once hold up nobody else."""

from __future__ import annotations

import asyncio
import math

PER_SECOND, AT_ONCE = 1_000, 100  # of which a core is busy


class Door:
    """Whoever comes is let in, in order; between two there is a turn of the loop for ACKs and pushes."""

    def __init__(self, per_second: float = PER_SECOND, at_once: int = AT_ONCE) -> None:
        self._step = 1 / per_second
        self._ahead = at_once / per_second  # seconds of the rate that may be used at once
        self._next = -math.inf  # in the loop's time, which may begin at 0, when the rate would let the next one in
        self._queue = asyncio.Lock()
        self.waiting = 0

    async def enter(self) -> None:
        """Return when it is the caller's turn."""
        self.waiting += 1
        try:
            async with self._queue:
                await asyncio.sleep(self._wait(asyncio.get_running_loop().time()))
        finally:
            self.waiting -= 1

    def _wait(self, now: float) -> float:
        """Seconds until the next one may come in, who is counted."""
        self._next = max(self._next, now - self._ahead) + self._step
        return max(self._next - now, 0.0)
