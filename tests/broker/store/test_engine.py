"""The database: whole transactions, durable, and failures in words."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from ringfence.broker.store import changes, connect
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError


def pragma(connection: Connection, name: str) -> object:
    """The value of a SQLite setting."""
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_commits_are_synced_before_they_are_acknowledged(sqlite: Store) -> None:
    """WAL with synchronous=FULL (2): a power cut after a commit loses nothing."""
    assert await sqlite.run(pragma, "journal_mode") == "wal"
    assert await sqlite.run(pragma, "synchronous") == 2


async def test_a_failing_transaction_leaves_nothing(store: Store) -> None:
    """What a function wrote before it raised is not there afterwards."""

    def fails(connection: Connection) -> None:
        changes.append(connection, [(ChangeKind.ENTRY, "x")])
        raise RingfenceError(Kind.INVALID, "no")

    with pytest.raises(RingfenceError):
        await store.run(fails)
    assert await store.run(changes.current) == 0
    assert await store.run(changes.since, 0) == ()


async def test_a_transaction_that_has_begun_outlives_its_caller(store: Store) -> None:
    """A client that goes away in the middle does not tear it apart."""
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def work(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(30)
        changes.append(connection, [(ChangeKind.ENTRY, "x")])

    task = asyncio.create_task(store.run(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await store.run(changes.current) == 1


async def test_a_full_disk_is_said_in_words(sqlite: Store) -> None:
    """SQLITE_FULL becomes EXHAUSTED, and what was recorded stays readable."""
    await sqlite.run(changes.append, [(ChangeKind.ENTRY, "kept")])
    pages = await sqlite.run(pragma, "page_count")
    await sqlite.run(pragma, f"max_page_count={pages}")

    def write_much(connection: Connection) -> None:
        changes.append(connection, [(ChangeKind.ENTRY, f"{i:064}") for i in range(1000)])

    with pytest.raises(RingfenceError, match="disk is full") as caught:
        await sqlite.run(write_much)
    assert caught.value.kind is Kind.EXHAUSTED
    assert await sqlite.run(changes.current) == 1


async def test_a_database_that_may_not_be_written_is_said_in_words(sqlite: Store) -> None:
    """SQLITE_READONLY names the file and what to check."""
    await sqlite.run(lambda connection: connection.exec_driver_sql("PRAGMA query_only=1").close())
    with pytest.raises(RingfenceError, match="may not be written") as caught:
        await sqlite.run(changes.append, [(ChangeKind.ENTRY, "x")])
    assert caught.value.where.endswith("store.sqlite3")


async def test_a_locked_database_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waited its time out is told that somebody else holds it."""
    monkeypatch.setattr(connect, "BUSY_SECONDS", 0)
    store = await Store.open(tmp_path / "store.sqlite3")
    other = sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(RingfenceError, match="another process holds") as caught:
            await store.run(changes.append, [(ChangeKind.ENTRY, "x")])
        assert caught.value.kind is Kind.UNAVAILABLE
    finally:
        other.close()
        await store.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Whatever lies at the path is left as it is."""
    path = tmp_path / "store.sqlite3"
    path.write_bytes(b"not a database at all, but long enough to look at" * 10)
    with pytest.raises(RingfenceError, match="no database of ours") as caught:
        await Store.open(path)
    assert caught.value.kind is Kind.INVALID
    assert path.read_bytes().startswith(b"not a database")


async def test_a_folder_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    """The folder is not made here: that is the daemon's business."""
    with pytest.raises(RingfenceError, match="cannot be opened"):
        await Store.open(tmp_path / "missing" / "store.sqlite3")


async def test_what_is_written_is_there_after_reopening(tmp_path: Path) -> None:
    """A store is its file."""
    first = await Store.open(tmp_path / "s")
    await first.run(changes.append, [(ChangeKind.ENTRY, "x")])
    await first.close()
    second = await Store.open(tmp_path / "s")
    assert await second.run(changes.current) == 1
    assert await second.run(lambda c: c.execute(text("SELECT count(*) FROM changes")).scalar()) == 1
    await second.close()
