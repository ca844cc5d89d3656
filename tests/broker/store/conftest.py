"""A store of one test, on each database that there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """Where there is no schema yet."""
    if request.param == "sqlite":
        yield Location.of_file(tmp_path / "store.sqlite3")
        return
    with request.getfixturevalue("postgres").database() as url:
        yield Location.parse(url)


@pytest.fixture
async def store(location: Location) -> AsyncIterator[Store]:
    """Fresh, on disk, on SQLite and on PostgreSQL."""
    opened = await Store.open(location)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    """Fresh, on SQLite, for what is its own."""
    opened = await Store.open(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()
