"""A backup holds one moment; putting it back repeats nothing that must not repeat."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ringfence.broker.store import authority, changes, entries, tokens
from ringfence.broker.store.authority import Kept
from ringfence.broker.store.backup import LEAP, backup, restore
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.store.test_entries import entry


def names(folder: Path) -> set[str]:
    """What is in there."""
    return {path.name for path in folder.iterdir()}


def mode(path: Path) -> int:
    """Its permissions."""
    return path.stat().st_mode & 0o777


def content(path: Path) -> bytes:
    """All of it."""
    return path.read_bytes()


def lose(database: Path) -> None:
    """The disk is gone."""
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "store.sqlite3"


@pytest.fixture
async def file(tmp_path: Path, database: Path) -> Path:
    """A backup of one entry, one token and an authority, taken while their server runs, and the server gone."""
    store = await Store.open(database)
    await store.run(entries.create, [entry()], 1)
    await store.run(tokens.add, "secret", expires_at=200, now=100)
    await store.run(authority.save, "self", {"trust_domain": "example.org"})
    await asyncio.to_thread(backup, database, tmp_path / "backup")
    await store.run(tokens.use, "secret", 150)
    await store.close()
    lose(database)
    return tmp_path / "backup"


async def test_a_backup_is_one_moment_of_a_database_that_is_written(tmp_path: Path, sqlite: Store) -> None:
    """As many entries as the feed has revisions, whenever it is taken; one private file with nothing beside it."""

    async def write() -> None:
        for i in range(50):
            await sqlite.run(entries.create, [entry(f"w{i}")], 1)

    writing = asyncio.create_task(write())
    taken = 0
    while not writing.done():
        await asyncio.to_thread(backup, tmp_path / "store.sqlite3", tmp_path / f"b{taken}")
        taken += 1
    await writing
    for i in range(taken):
        with closing(sqlite3.connect(tmp_path / f"b{i}")) as copy:
            [(held, revision)] = copy.execute("select (select count(*) from entries), revision from feed")
        assert held == revision
        assert mode(tmp_path / f"b{i}") == 0o600
    assert names(tmp_path) - {f"b{i}" for i in range(taken)} <= {
        "store.sqlite3",
        "store.sqlite3-wal",
        "store.sqlite3-shm",
    }


async def test_what_must_not_repeat_does_not(file: Path, database: Path) -> None:
    """Entries are back; the used token is void, revisions and the bundle's sequence go on far ahead."""
    assert await asyncio.to_thread(restore, file, database) == 1
    assert mode(database) == 0o600
    store = await Store.open(database)
    [held] = await store.run(entries.every)
    assert held.same_as(entry())
    with pytest.raises(RingfenceError, match="not known"):
        await store.run(tokens.use, "secret", 150)
    assert await store.run(changes.current) == 2 + LEAP
    assert await store.run(changes.since, 1) is None  # a follower of the lost database loads everything
    assert await store.run(authority.every) == {"self": Kept({"trust_domain": "example.org"}, 1 + LEAP)}
    await store.close()


async def test_lost_keys_leave_the_sequence(file: Path, database: Path) -> None:
    """The authority is forgotten, so that a new one is made; its bundle is newer than any that was seen."""
    await asyncio.to_thread(restore, file, database, new_authority=True)
    store = await Store.open(database)
    assert await store.run(authority.every) == {"self": Kept({}, 1 + LEAP)}
    await store.close()


@pytest.mark.parametrize("left", ["", "-wal", "-shm", "-journal"])
async def test_nothing_is_written_over_a_database_or_what_is_left_of_one(file: Path, database: Path, left: str) -> None:
    """A stray log would be played into what was put back."""
    there = database.with_name(database.name + left)
    there.write_bytes(b"precious")
    with pytest.raises(RingfenceError, match="a database already") as caught:
        await asyncio.to_thread(restore, file, database)
    assert caught.value.kind is Kind.CONFLICT
    assert there.read_bytes() == b"precious"


async def test_a_backup_is_written_over_nothing(file: Path, database: Path) -> None:
    """Not even over an older backup."""
    await asyncio.to_thread(restore, file, database)
    held = content(file)
    with pytest.raises(RingfenceError, match="there already") as caught:
        await asyncio.to_thread(backup, database, file)
    assert caught.value.kind is Kind.CONFLICT
    assert content(file) == held


async def test_what_is_no_backup_is_refused(tmp_path: Path, database: Path) -> None:
    """No file, no database, not ours, damaged; the database is not made, and nothing is left beside it."""

    def other(path: Path) -> None:
        with closing(sqlite3.connect(path)) as made:
            made.execute("create table t (x)")

    (tmp_path / "text").write_text("not a database, but long enough to look at " * 20)
    await asyncio.to_thread(other, tmp_path / "other")
    cases = {"missing": "no such backup", "text": "no database of ours", "other": "no backup of a Ringfence"}
    for name, words in cases.items():
        with pytest.raises(RingfenceError, match=words):
            await asyncio.to_thread(restore, tmp_path / name, database)
    assert names(tmp_path) == {"text", "other"}


async def test_a_damaged_backup_is_refused(file: Path, database: Path) -> None:
    """An index that lost a row is found before the database is made."""

    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as made:
            made.execute("pragma writable_schema = on")
            made.execute(
                "update sqlite_master set rootpage = (select rootpage from sqlite_master where name = 'feed')"
                " where name = 'issuance_not_after'"
            )

    await asyncio.to_thread(damage, file)
    with pytest.raises(RingfenceError, match="damaged") as caught:
        await asyncio.to_thread(restore, file, database)
    assert caught.value.kind is Kind.INVALID
    assert database.name not in names(database.parent)


async def test_a_place_that_cannot_be_written_is_said_in_words(file: Path, tmp_path: Path) -> None:
    """Before anything is copied."""
    with pytest.raises(RingfenceError, match="cannot be written"):
        await asyncio.to_thread(restore, file, tmp_path / "missing" / "s")
    with pytest.raises(RingfenceError, match="no database here"):
        await asyncio.to_thread(backup, tmp_path / "missing", tmp_path / "b")


async def test_an_older_backup_is_migrated(file: Path, database: Path) -> None:
    """By the same steps as an older database."""

    def age(path: Path) -> None:
        with closing(sqlite3.connect(path)) as made:
            made.executescript("create table kept as select * from alembic_version; delete from alembic_version")
            tables = [name for (name,) in made.execute("select name from sqlite_master where type = 'table'")]
            made.executescript("".join(f"drop table {name};" for name in tables if name != "alembic_version"))

    await asyncio.to_thread(age, file)
    assert await asyncio.to_thread(restore, file, database) == 0
    store = await Store.open(database)

    def moved_on(connection: Connection) -> int:
        return changes.current(connection)

    assert await store.run(moved_on) == LEAP
    await store.close()
