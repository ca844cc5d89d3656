"""The connection by which a server is known to live: it is closed however its holder ends."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import psycopg
import pytest

from ringfence.broker.store.connect import LIVING
from ringfence.broker.store.location import Location
from ringfence.broker.store.presence import Presence
from tests.postgres import Cluster

pytestmark = pytest.mark.postgres
NUMBER = 7


async def test_who_is_cancelled_while_it_waits_for_the_lock_leaves_no_connection(postgres: Cluster) -> None:
    """A server that stops while its database comes back: what nobody holds yet is closed, not left to the collector."""
    with postgres.database() as url, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        location = Location.parse(url)
        with psycopg.connect(host=str(postgres.socket_dir), user="postgres", dbname=location.url.database) as holder:
            holder.execute("select pg_advisory_lock(%s, %s)", [LIVING, NUMBER])
            beginning = asyncio.create_task(Presence(location, NUMBER).begin())
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(_waits, holder):
                    pass
            beginning.cancel()
            await asyncio.wait([beginning])
        assert beginning.cancelled()
        del beginning
        gc.collect()
        assert [str(one.message) for one in said] == []


def _waits(holder: psycopg.Connection[Any]) -> bool:
    """Whether somebody asks for a lock and has not got it."""
    found = holder.execute("select from pg_locks where locktype = 'advisory' and objid = %s and not granted", [NUMBER])
    return found.fetchone() is not None
