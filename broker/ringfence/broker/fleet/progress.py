"""Tells whoever waits for proxies that one of them has got further."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from ringfence.broker.fleet.proxy import SYNCED, Proxy


class Progress:
    """True while somebody waits."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def until_synced(
        self,
        proxies: AbstractSet[Proxy],
        is_wanted: Callable[[], bool],
        concerns: Callable[[Proxy], bool] = lambda _: True,
    ) -> bool:
        """Until each of *proxies*, which may come and go, that it *concerns* is SYNCED; False once it is not wanted."""
        while is_wanted():
            late = [proxy for proxy in proxies if concerns(proxy) and proxy.state != SYNCED]
            if not late:
                return True
            # One look a step at one proxy, not at all of them: a thousand ACKs are a thousand steps.
            while late and is_wanted():
                if late[-1].state == SYNCED or late[-1] not in proxies:
                    late.pop()
                else:
                    await self.step()
        return False

    async def step(self) -> None:
        """Until a proxy answered or left, endpoints changed, or another model came."""
        step = asyncio.get_running_loop().create_future()
        self._waiting.add(step)
        try:
            await step
        finally:
            self._waiting.discard(step)

    def announce(self) -> None:
        """That is so now."""
        for step in self._waiting:
            if not step.done():
                step.set_result(None)
