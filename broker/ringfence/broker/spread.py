"""How far what a server published has spread: nothing signs before whoever verifies can know it."""

from __future__ import annotations

import asyncio

from ringfence.broker.servers import Servers
from ringfence.certs.errors import Kind, RingfenceError

LEAD_SECONDS = 1.0  # a pushed bundle is in every connected Envoy well before
_PATIENCE = 10.0  # seconds for other servers to push what was published here


class Spread:
    """Of what was published last, under the *sequence* of the bundle that first showed it."""

    def __init__(self, servers: Servers | None, sequence: int) -> None:
        self._servers = servers
        self._sequence = sequence
        self._since = 0.0  # of the event loop

    def begin(self, sequence: int) -> None:
        """It was published now."""
        self._sequence, self._since = sequence, asyncio.get_running_loop().time()

    async def is_done(self) -> bool:
        """Whether every server that lives shows it."""
        return self._servers is None or await self._servers.is_shown(self._sequence)

    async def wait(self, lead_seconds: float) -> None:
        """Until they have shown it for *lead_seconds*; raises UNAVAILABLE when another server is too slow."""
        since = self._since
        if self._servers is not None:
            if not await self._servers.wait_shown(self._sequence, _PATIENCE):
                raise RingfenceError(
                    Kind.UNAVAILABLE,
                    "another server does not show the new authority yet",
                    hint="See `ringfence server list`: stop one that hangs",
                )
            since = max(since, self._servers.heard_at)
        left = since + lead_seconds - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)
