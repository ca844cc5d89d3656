"""What an agent has on its disk: read once at the start, written soon after each change."""

from __future__ import annotations

import asyncio

from ringfence.broker.agent import events
from ringfence.broker.agent.node import Node
from ringfence.broker.agent.parts import Known
from ringfence.broker.agent.storage import DataFolder
from ringfence.certs.errors import RingfenceError

_SAVE_PAUSE = 0.2  # seconds in which changes of the kept state come together


class Keeper:
    """Keeps what one agent knows. A disk that fails is told of, and stops nothing."""

    def __init__(self, folder: DataFolder, node: Node, known: Known) -> None:
        self._folder = folder
        self._node = node
        self._known = known

    async def restore(self) -> None:
        """Know again what was known before."""
        try:
            kept = await asyncio.to_thread(self._folder.load)
        except (RingfenceError, OSError) as error:
            events.not_kept(error)
            return
        if kept is not None:
            self._known.restore(kept)

    async def run(self) -> None:
        """Save after changes, until cancelled."""
        while True:
            await self._known.cache.dirty.wait()
            await asyncio.sleep(_SAVE_PAUSE)
            await self.save()

    async def save(self) -> None:
        """Write all of it."""
        self._known.cache.dirty.clear()
        await self._node.save()
        kept = self._known.dump()
        try:
            await asyncio.to_thread(self._folder.save, kept)
        except (OSError, RingfenceError) as error:
            events.not_kept(error)
