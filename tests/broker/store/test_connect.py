"""How PostgreSQL is opened: alone where asked, every wait bounded, every failure in words without the password."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from ringfence.broker.store import changes, connect
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.connect import Hold
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.certs.errors import Kind, RingfenceError
from tests.postgres import PASSWORD, Cluster

pytestmark = pytest.mark.postgres


@pytest.fixture
def location(postgres: Cluster) -> Iterator[Location]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield Location.parse(url)


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What opens a database in the block waits for nobody who holds it; a machine that is busy still has the time."""
    with monkeypatch.context() as patched:
        patched.setattr(connect, "BUSY_SECONDS", 0.5)
        yield


def other(location: Location) -> psycopg.Connection[Any]:
    """Somebody else on the database."""
    url = location.url
    return psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True)


async def test_one_server_has_a_database(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is told so until the first has gone."""
    first = await Store.open(location, Hold.ALONE)
    with impatient(monkeypatch), pytest.raises(RingfenceError, match="another server holds") as caught:
        await Store.open(location, Hold.ALONE)
    assert caught.value.kind is Kind.CONFLICT
    await first.close()
    await (await Store.open(location, Hold.ALONE)).close()


async def test_servers_share_a_database_that_nobody_then_has_alone(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a migration nor a restore happens under a server; a server does not start under one of these."""
    servers = [await Store.open(location, Hold.SHARED) for _ in range(2)]
    with impatient(monkeypatch), pytest.raises(RingfenceError, match="another server holds"):
        await Store.open(location, Hold.ALONE)
    for server in servers:
        await server.close()
    alone = await Store.open(location, Hold.ALONE)
    with impatient(monkeypatch), pytest.raises(RingfenceError, match="another server holds"):
        await Store.open(location, Hold.SHARED)
    await alone.close()


async def test_servers_that_start_at_once_on_an_empty_database_all_start(location: Location) -> None:
    """One makes the schema, alone; the others wait for it."""
    stores = await asyncio.gather(*(Store.open(location, Hold.SHARED) for _ in range(3)))
    assert [await store.run(changes.append, [(ChangeKind.ENTRY, "x")]) for store in stores] == [1, 2, 3]
    for store in stores:
        await store.close()


async def test_an_older_schema_is_not_migrated_under_a_running_server(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older program goes on; the newer one says what is in its way, and has changed nothing."""
    older = await Store.open(location, Hold.SHARED)

    def age(connection: Connection) -> None:
        connection.exec_driver_sql("update alembic_version set version_num = '0006'")

    await older.run(age)
    with impatient(monkeypatch), pytest.raises(RingfenceError, match="another server holds") as caught:
        await Store.open(location, Hold.SHARED)
    assert caught.value.kind is Kind.CONFLICT
    await older.close()


async def test_two_that_start_on_an_empty_database_make_one_schema(location: Location) -> None:
    """One makes it, the other finds it."""
    stores = await asyncio.gather(*(Store.open(location) for _ in range(3)))
    assert [await store.run(changes.append, [(ChangeKind.ENTRY, "x")]) for store in stores] == [1, 2, 3]
    for store in stores:
        await store.close()


async def test_a_lost_connection_is_replaced_and_alone_again(location: Location, postgres: Cluster) -> None:
    """A restarted database costs no restart of the server."""
    store = await Store.open(location, Hold.ALONE)
    pid = await store.run(lambda connection: connection.exec_driver_sql("select pg_backend_pid()").scalar())
    with postgres.admin() as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    assert await store.run(changes.append, [(ChangeKind.ENTRY, "x")]) == 1
    with other(location) as watcher:
        held = watcher.execute(
            "select count(*) from pg_locks join pg_database on pg_database.oid = database "
            "where locktype = 'advisory' and objid = 2 and datname = current_database()"
        ).fetchone()
    assert held == (1,)
    await store.close()


async def test_a_connection_lost_in_the_middle_is_said_in_words(location: Location, postgres: Cluster) -> None:
    """The transaction is undone, the next one works."""
    store = await Store.open(location)

    def loses(connection: Connection) -> None:
        changes.append(connection, [(ChangeKind.ENTRY, "x")])
        pid = connection.exec_driver_sql("select pg_backend_pid()").scalar()
        with postgres.admin() as admin:
            admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        changes.current(connection)

    with pytest.raises(RingfenceError, match="does not answer") as caught:
        await store.run(loses)
    assert caught.value.kind is Kind.UNAVAILABLE
    assert await store.run(changes.current) == 0
    await store.close()


async def test_a_frozen_holder_stops_nobody_for_good(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is told; the database ends the transaction of whoever holds the lock and does nothing."""
    await (await Store.open(location)).close()  # which makes the schema, with time for it
    with impatient(monkeypatch):
        store = await Store.open(location)
    with other(location) as holder:
        with holder.transaction():
            holder.execute("select pg_advisory_xact_lock(%s, %s)", (connect._OURS, connect._TRANSACTION))
            with pytest.raises(RingfenceError, match="is busy"):
                await store.run(changes.current)
        assert await store.run(changes.current) == 0

    timeout = await store.run(
        lambda connection: connection.exec_driver_sql("show idle_in_transaction_session_timeout").scalar()
    )
    assert timeout == "1s"
    await store.close()


async def test_a_standby_is_said_in_words(location: Location) -> None:
    """After a failover the old primary takes no writes."""
    store = await Store.open(location)
    await store.close()
    with other(location) as admin:
        admin.execute(f"alter database {location.url.database} set default_transaction_read_only = on")
    store = await Store.open(location)
    with pytest.raises(RingfenceError, match="read-only") as caught:
        await store.run(changes.append, [(ChangeKind.ENTRY, "x")])
    assert caught.value.kind is Kind.UNAVAILABLE
    await store.close()


async def test_a_wrong_password_is_refused_and_not_repeated(location: Location, postgres: Cluster) -> None:
    """The right one gets in; no password in the error, its cause or the trace of both."""
    url = location.url.set(username="guarded")
    with other(location) as admin:
        admin.execute(f"grant all on database {url.database} to guarded")
        admin.execute("grant all on schema public to guarded")
    await (await Store.open(Location(url.set(password=PASSWORD)))).close()
    with pytest.raises(RingfenceError) as caught:
        await Store.open(Location(url.set(password="wrong-and-secret")))  # noqa: S106  # the point of it
    assert caught.value.kind is Kind.DENIED
    assert "wrong-and-secret" not in f"{caught.value!s} {caught.value.__cause__!s} {caught.value.__cause__!r}"
    with pytest.raises(RingfenceError, match="wants a password"):
        await Store.open(Location(url))


async def test_what_is_not_there_is_said_in_words(location: Location) -> None:
    """No such database; nobody listens."""
    with pytest.raises(RingfenceError, match="no such database") as missing:
        await Store.open(Location(location.url.set(database="nowhere")))
    assert missing.value.kind is Kind.INVALID
    with pytest.raises(RingfenceError, match="does not answer") as silent:
        await Store.open(Location.parse("postgresql://me@127.0.0.1:1/d"))
    assert silent.value.kind is Kind.UNAVAILABLE
    assert silent.value.where == "postgresql://me@127.0.0.1:1/d"


async def test_a_missing_driver_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RingfenceError, match="needs its driver") as caught:
        await Store.open(Location.parse("postgresql://me@127.0.0.1:1/d"))
    assert "ringfence[postgres]" in caught.value.hint


async def test_a_text_that_is_too_long_is_said_in_words(location: Location) -> None:
    """PostgreSQL holds what a column declares; SQLite does not."""
    store = await Store.open(location)
    with pytest.raises(RingfenceError, match="longer than its column") as caught:
        await store.run(changes.append, [(ChangeKind.ENTRY, "x" * 2049)])
    assert caught.value.kind is Kind.INVALID
    assert await store.run(changes.current) == 0
    await store.close()
