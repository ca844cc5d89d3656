"""Lets new streams in, in order and at a bounded rate: thousands that come back at once hold up nobody else."""

from __future__ import annotations

import asyncio
import math
from collections import deque

PER_SECOND, AT_ONCE = 1_000, 100  # of which a core is busy
# Not one alone: a turn of the loop takes tens of milliseconds while the same thousands shake hands.
A_TURN = 16
_NOW = 1e-6  # seconds: a wait of less is a sum of floats, and none


class Door:
    """Whoever comes is let in, in order; after each `A_TURN` there is a turn of the loop for ACKs and pushes."""

    def __init__(self, per_second: float = PER_SECOND, at_once: int = AT_ONCE) -> None:
        self._step = 1 / per_second
        self._ahead = at_once / per_second  # seconds of the rate that may be used at once
        self._next = -math.inf  # in the loop's time, which may begin at 0, when the rate would let the next one in
        self._queue: deque[asyncio.Future[None]] = deque()
        self._is_tended = False

    @property
    def waiting(self) -> int:
        """How many stand outside."""
        return sum(not each.done() for each in self._queue)

    async def enter(self) -> None:
        """Return when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._queue.append(turn)
        if not self._is_tended:
            self._is_tended = True
            loop.call_soon(self._tend)  # not now: whoever comes in this turn of the loop is counted together
        await turn

    def _tend(self) -> None:
        """Let in those whose time has come, and look again when the next one's has, or in the next turn of the loop."""
        loop = asyncio.get_running_loop()
        for _ in range(A_TURN):
            while self._queue and self._queue[0].done():  # it left
                self._queue.popleft()
            if not self._queue:
                self._is_tended = False
                return
            if wait := self._until_next(loop.time()):
                loop.call_later(wait, self._tend)
                return
            self._queue.popleft().set_result(None)
        loop.call_soon(self._tend)

    def _until_next(self, now: float) -> float:
        """Seconds until the next one may come in; 0 for now, and then it is counted."""
        begins = max(self._next, now - self._ahead) + self._step
        if begins - now > _NOW:
            return begins - now
        self._next = begins
        return 0.0
