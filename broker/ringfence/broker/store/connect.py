"""How each database is opened, so that the transactions of all its users come one after another, each whole."""

from __future__ import annotations

from enum import Enum
from sqlite3 import Connection as SqliteConnection
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from psycopg import Connection as PostgresConnection

BUSY_SECONDS = 5.0  # that a transaction waits for those before it
_CONNECT_SECONDS = 5
# Two-part keys of advisory locks: a number of ours, then what it is for; and a number of ours, then that of a server.
_OURS, _TRANSACTION, _SERVER = 0x52464E43, 1, 2
LIVING = 0x52464E44


class Hold(Enum):
    """What a user of a PostgreSQL keeps others from; a SQLite file is kept by the lock on its folder."""

    NOTHING = ""
    SHARED = "SELECT pg_advisory_lock_shared(%s, %s)"  # other servers may come, nobody who wants it alone
    ALONE = "SELECT pg_advisory_lock(%s, %s)"  # no server may come


def engine_of(location: Location, hold: Hold = Hold.NOTHING) -> Engine:
    """Open *location*; raises INVALID without its driver."""
    return _sqlite(location) if location.file is not None else _postgres(location, hold)


def _sqlite(location: Location) -> Engine:
    engine = create_engine(
        location.url,
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
        # 16 MiB instead of 4: pages of the ledger's indexes that every batch changes are copied back less often.
        connection.execute("PRAGMA wal_autocheckpoint=4000")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres(location: Location, hold: Hold) -> Engine:
    try:
        engine = create_engine(
            location.url,
            pool_size=1,
            max_overflow=0,
            # A connection that the server closed is replaced before a transaction begins, never in the middle of one.
            pool_pre_ping=True,
            # A new snapshot a statement: what is read after the lock is what those before have committed.
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            connect_args=settings(location),
        )
    except ModuleNotFoundError as error:
        raise RingfenceError(
            Kind.INVALID, "PostgreSQL needs its driver", hint="Run pip install 'ringfence[postgres]'"
        ) from error

    if hold is not Hold.NOTHING:

        @event.listens_for(engine, "connect")
        def on_connect(connection: PostgresConnection[Any], _: ConnectionPoolEntry) -> None:
            # Held as long as the connection; the database gives it back when the process ends, however it ends.
            connection.execute(hold.value, (_OURS, _SERVER))
            connection.commit()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # What BEGIN IMMEDIATE is to SQLite. Given back after the commit has become visible.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, %s)", (_OURS, _TRANSACTION))

    return engine


def settings(location: Location) -> dict[str, Any]:
    """Bounds on every wait, so that no holder that froze or lost its network stops the others for good."""
    milliseconds = int(BUSY_SECONDS * 1000)
    options = {
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 2 * milliseconds,
        "statement_timeout": 6 * milliseconds,
        "synchronous_commit": "on",
    }
    return {
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "application_name": "ringfence",
    } | ({} if "connect_timeout" in location.url.query else {"connect_timeout": _CONNECT_SECONDS})
