"""Ends entries on time, also while the server is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ringfence.broker.agent.cache import Cache

# Never sleep past this, so that a clock that jumped is noticed.
_LONGEST_SLEEP = 30.0


async def end_entries(cache: Cache) -> None:
    """For as long as the agent lives: streams of an entry that ends learn it then."""
    while True:
        cache.ends.clear()
        cache.end_entries()
        pause = _LONGEST_SLEEP
        if (end := cache.book.next_end()) is not None:
            pause = min(pause, max(end - cache.clock().timestamp(), 0))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await cache.ends.wait()
