"""Runs whole transactions of one database on its one thread, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, DBAPIError

from ringfence.broker import metrics
from ringfence.broker.store.connect import Hold, engine_of
from ringfence.broker.store.failure import in_words
from ringfence.broker.store.location import Location
from ringfence.broker.store.migrate import bring_up_to_date
from ringfence.broker.store.offline import make_current

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """One database. `run` gives a function the connection inside one transaction: all of it is durable, or none.

    Transactions come one after another, also those of other processes on the same database: a function may read and
    then write without a race. Every read of the serving path comes from memory (registry), so one thread is enough.
    """

    def __init__(self, engine: Engine, location: Location) -> None:
        self._engine = engine
        self._location = location
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ringfence-store")

    @classmethod
    async def open(cls, where: Path | Location, hold: Hold = Hold.NOTHING) -> Store:
        """The database at *where*, made or migrated as needed; raises UNAVAILABLE, EXHAUSTED or INVALID in words.

        Raises CONFLICT when another user's *hold* and this one do not go together.
        """
        location = where if isinstance(where, Location) else Location.of_file(where)
        if hold is Hold.SHARED and location.file is None:
            await asyncio.to_thread(make_current, location)
        store = cls(await asyncio.to_thread(engine_of, location, hold), location)
        try:
            await store._call(bring_up_to_date, store._engine)
        except BaseException:
            await store.close()
            raise
        return store

    async def run(self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What *work* returns once its transaction is on disk; once begun it runs to its end."""

        def transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection, *args, **kwargs)

        with metrics.STORE_SECONDS.time():
            return await self._call(transaction)

    async def rehearse(self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `run` would return or raise, with nothing of it kept: the transaction is rolled back."""

        def transaction() -> T:
            with self._engine.connect() as connection, connection.begin() as begun:
                done = work(connection, *args, **kwargs)
                begun.rollback()
                return done

        return await self._call(transaction)

    async def close(self) -> None:
        """Finish what runs, and give the database back."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def guarded() -> T:
            try:
                return work(*args, **kwargs)
            except (DBAPIError, DatabaseError) as error:
                raise in_words(error, self._location) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)
