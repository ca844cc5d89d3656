"""The connection by which a server is known to live, and on which it hears at once what others have committed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ringfence.broker.log import log
from ringfence.broker.store.changes import CHANNEL
from ringfence.broker.store.connect import LIVING, settings
from ringfence.broker.store.failure import in_words
from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between tries to connect, before jitter
# A network that takes packets and gives none is noticed within half a minute (PostgreSQL manual, 32.1.2).
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class Presence:
    """Holds the advisory lock *number* for as long as the connection lives; the database gives it back by itself."""

    def __init__(self, location: Location, number: int) -> None:
        self._location = location
        self._number = number
        self._first: AsyncConnection[Any] | None = None

    async def begin(self) -> None:
        """Be known to live; raises CONFLICT when another process is this server already, and UNAVAILABLE."""
        self._first = await self._open()

    async def run(self, catch_up: Callable[[int | None], Awaitable[None]]) -> None:
        """Have *catch_up* hear of every revision, and of None when some may have been missed, until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._connected() as connection:
                    await catch_up(None)
                    pause = _FIRST_PAUSE
                    async for told in connection.notifies():
                        await catch_up(int(told.payload))
                lost = RingfenceError(Kind.UNAVAILABLE, "the database closed the connection", where=str(self._location))
            except RingfenceError as error:
                lost = error
            log.warning("changes by other servers are not heard of", detail=lost.detail, where=lost.where)
            # Full jitter: servers that lost one database together do not come back together.
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # it spreads load
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def end(self) -> None:
        """Be known to live no longer, if `run` never did that."""
        first, self._first = self._first, None
        if first is not None:
            await first.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection[Any]]:
        import psycopg

        connection, self._first = self._first or await self._open(), None
        try:
            yield connection
        except psycopg.Error as error:
            raise in_words(error, self._location) from error
        finally:
            await connection.close()

    async def _open(self) -> AsyncConnection[Any]:
        import psycopg  # only servers with a PostgreSQL have it

        _, given = self._location.url.get_dialect()().create_connect_args(self._location.url)
        try:
            connection = await psycopg.AsyncConnection.connect(
                **{**given, **settings(self._location), **_KEEPALIVE}, autocommit=True
            )
        except psycopg.Error as error:
            raise in_words(error, self._location) from error
        try:
            await self._announce(connection)
        except BaseException:  # also when we are cancelled before anybody holds it
            await connection.close()
            raise
        return connection

    async def _announce(self, connection: AsyncConnection[Any]) -> None:
        import psycopg

        try:
            # Waits a while: what is left of this server's last connection may not have been noticed yet.
            await connection.execute("SELECT pg_advisory_lock(%s, %s)", (LIVING, self._number))
            await connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.errors.LockNotAvailable as error:
            raise RingfenceError(
                Kind.CONFLICT,
                "this server runs already, in another process",
                where=str(self._location),
                hint="Of a copied data directory remove `server-id` and the keys: a copy is another server",
            ) from error
        except psycopg.Error as error:
            raise in_words(error, self._location) from error
