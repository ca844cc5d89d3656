"""Whether a peer is let in: the lane's hook runs once a connection, and every call of it waits for the answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ringfence.proto.lane.service import Service
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.proto.lane.connection import Connection


class RefusedBut(Status):
    """Raised by the hook: how every call of the connection ends but those of the methods *but*, by path.

    They judge the caller for themselves.
    """

    def __init__(self, refusal: Status, but: frozenset[str]) -> None:
        super().__init__(refusal.code, refusal.message, refusal.trailers)
        self.but = but


class Admission:
    """The answer for one connection: not yet, let in, or the status that every call of it ends with."""

    __slots__ = ("_refusal", "_service", "_task")

    def __init__(self, service: Service) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None
        self._refusal: Status | None = None

    def begin(self, connection: Connection) -> None:
        """Ask the hook, which may answer at once or later."""
        if self._service.on_connect is None:
            return
        try:
            waiting = self._service.on_connect(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the peer is not let in
            self._refuse(error)
            return
        if inspect.isawaitable(waiting):
            self._task = asyncio.get_running_loop().create_task(self._later(waiting))

    async def _later(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except Exception as error:  # noqa: BLE001 - whatever it is, the peer is not let in
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._refusal = error if isinstance(error, Status) else self._service.on_error(error)

    def cancel(self) -> None:
        """The peer has gone."""
        if self._task is not None:
            self._task.cancel()

    async def passed(self, path: str) -> None:
        """Return once the peer is let in to the method *path*; raises the Status that it is refused with."""
        if self._task is not None:
            if not self._task.done():
                await asyncio.wait([self._task])
            if self._task.cancelled():
                raise Status(Code.UNAVAILABLE, "the connection was not admitted")
        if isinstance(self._refusal, RefusedBut) and path in self._refusal.but:
            return
        if self._refusal is not None:
            raise self._refusal
