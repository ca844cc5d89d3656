"""Writes what proxies said to the endpoint log, in order and off the serving path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ringfence.broker.fleet.endpoints import EndpointLog
from ringfence.broker.log import log
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.certs.errors import RingfenceError


class Journal:
    """A log that cannot be written costs a restarted server its memory, never a proxy its stream."""

    def __init__(self, endpoint_log: EndpointLog) -> None:
        self._log = endpoint_log
        self._todo: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    async def load(self) -> list[EndpointRow]:
        """What was kept; raises what the log raises."""
        return await self._log.load()

    def put(self, node: str, rows: list[EndpointRow]) -> None:
        """Keep *rows* as all that *node* says."""
        self._todo.put_nowait(lambda: self._log.put(node, rows))

    def remove(self, node: str) -> None:
        """Forget what *node* said."""
        self._todo.put_nowait(lambda: self._log.remove(node))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._write(await self._todo.get())

    async def flush(self) -> None:
        """Write all that waits."""
        while not self._todo.empty():
            await self._write(self._todo.get_nowait())

    async def _write(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except RingfenceError as error:
            log.error("endpoints not kept", detail=error.detail, where=error.where, hint=error.hint)
