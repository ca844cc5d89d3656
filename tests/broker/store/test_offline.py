"""What operators do to a database without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from ringfence.broker.store import authority, entries
from ringfence.broker.store.connect import Hold
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.broker.store.migrate import HEAD
from ringfence.broker.store.offline import Found, look, migrate
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.store.test_entries import entry


def test_looking_makes_nothing(tmp_path: Path) -> None:
    """Where there is no file there is none afterwards."""
    assert look(Location.of_file(tmp_path / "s")) == Found(None)
    assert not list(tmp_path.iterdir())


async def test_migrating_twice_changes_once(location: Location) -> None:
    """The first call makes the schema, the second one finds it."""
    assert await asyncio.to_thread(migrate, location) is None
    assert await asyncio.to_thread(migrate, location) == HEAD
    assert await asyncio.to_thread(look, location) == Found(HEAD, "", 0)


async def test_what_is_there_is_seen_while_a_server_has_it(location: Location) -> None:
    """Schema, trust domain and entries."""
    store = await Store.open(location, Hold.ALONE)
    await store.run(entries.create, [entry()], 1)
    await store.run(authority.save, "self", {"trust_domain": "example.org"})
    assert await asyncio.to_thread(look, location) == Found(HEAD, "example.org", 1)
    await store.close()


async def test_a_database_of_a_newer_program_is_refused(location: Location) -> None:
    """By looking as by starting."""
    store = await Store.open(location)
    await store.run(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    await store.close()
    for call in (look, migrate):
        with pytest.raises(RingfenceError, match="9999") as caught:
            await asyncio.to_thread(call, location)
        assert caught.value.kind is Kind.INVALID


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """In words."""
    (tmp_path / "s").write_bytes(b"not a database at all, but long enough to look at" * 10)
    with pytest.raises(RingfenceError, match="no database of ours"):
        await asyncio.to_thread(look, Location.of_file(tmp_path / "s"))
