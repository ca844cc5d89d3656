"""When a TLS handshake begins: in the order in which clients asked, and not so many at once that all would be late.

Thousands that come back together after a restart are read from the kernel's queue as fast as they get through.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# One that is older counts no more, or a few that say one word and nothing else would keep everybody out.
AT_ONCE, YOUNG_SECONDS = 64, 0.1
_TURN_SECONDS = 0.005  # in which handshakes are begun before calls have their turn


class Asking(Protocol):
    """A client whose first word is here."""

    def begin(self) -> None:
        """It is its turn."""


class Gate:
    """Lets clients in one after the other, as long as few enough are on their way in."""

    def __init__(self, at_once: int = AT_ONCE, young_seconds: float = YOUNG_SECONDS) -> None:
        self._at_once = at_once
        self._young_seconds = young_seconds
        self._loop = asyncio.get_running_loop()
        self._asking: deque[Asking] = deque()
        self._young: dict[Asking, float] = {}  # when they began, oldest first
        self._next: asyncio.Handle | None = None

    def ask(self, one: Asking) -> None:
        """Have *one* begin when it is its turn."""
        self._asking.append(one)
        self._look_again()

    def over(self, one: Asking) -> None:
        """*one* is through, or has failed."""
        self._young.pop(one, None)
        self._look_again()

    def _look_again(self) -> None:
        if self._asking:
            if self._next is not None:
                self._next.cancel()
            self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._next = None
        until = self._loop.time() + _TURN_SECONDS
        try:
            while self._asking and self._has_room(now := self._loop.time()) and now < until:
                one = self._asking.popleft()
                self._young[one] = now
                one.begin()
        finally:
            if self._asking and self._next is None:
                wait = 0.0 if self._has_room(self._loop.time()) else self._young_seconds
                self._next = self._loop.call_later(wait, self._turn)

    def _has_room(self, now: float) -> bool:
        while self._young and next(iter(self._young.values())) < now - self._young_seconds:
            del self._young[next(iter(self._young))]
        return len(self._young) < self._at_once
