"""Opens the database and runs whole transactions on its one thread, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from ringfence.broker import metrics
from ringfence.broker.store.failure import in_words
from ringfence.broker.store.migrate import bring_up_to_date

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 5


class Store:
    """One database. `run` gives a function the connection inside one transaction: all of it is durable, or none.

    Every read of the serving path comes from memory (registry), so one thread is enough and orders the writers.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ringfence-store")

    @classmethod
    async def open(cls, path: Path) -> Store:
        """The database at *path*, made or migrated as needed; raises UNAVAILABLE, EXHAUSTED or INVALID in words."""
        store = cls(await asyncio.to_thread(_engine, path), path)
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

    async def close(self) -> None:
        """Finish what runs, and give the file back."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def guarded() -> T:
            try:
                return work(*args, **kwargs)
            except (DBAPIError, DatabaseError) as error:
                raise in_words(error, self._path) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: SqliteConnection, _: ConnectionPoolEntry) -> None:
        # The driver's own implicit BEGIN is off: it would start late and deferred, and lose a race for the write lock.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # WAL's default does not sync on commit
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
