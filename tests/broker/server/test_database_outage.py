"""A server whose PostgreSQL goes away: it says on what it knows, refuses what it must write, and needs no restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.store.location import Location
from tests.broker.server.harness import running_server
from tests.postgres import Cluster

pytestmark = pytest.mark.postgres


async def test_an_outage_needs_no_restart(tmp_path: Path, postgres: Cluster) -> None:
    """Lists and the bundle come from memory; a change is refused in words, is not half made, and works afterwards."""
    with postgres.database() as url:
        location = Location.parse(url)
        name = location.url.database

        def close() -> None:
            with postgres.admin() as admin:
                admin.execute(f"alter database {name} allow_connections false")
                admin.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [name])

        def reopen() -> None:
            with postgres.admin() as admin:
                admin.execute(f"alter database {name} allow_connections true")

        async with running_server(tmp_path, database=location) as server:
            kept = await server.create_entry("spiffe://example.org/ns/a/sa/kept", "unix:uid:1")
            # 1. Gone.
            await asyncio.to_thread(close)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.create_entry("spiffe://example.org/ns/a/sa/lost", "unix:uid:2")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (await server.bundle()).sequence == 1
            listed = await server.admin.ListEntries(pb.ListEntriesRequest())
            assert [entry.id for entry in listed.entries] == [kept.id]
            # 2. Back.
            await asyncio.to_thread(reopen)
            made = await server.create_entry("spiffe://example.org/ns/a/sa/new", "unix:uid:3")
            listed = await server.admin.ListEntries(pb.ListEntriesRequest())
            assert {entry.id for entry in listed.entries} == {kept.id, made.id}


async def test_a_restarted_server_finds_its_state(tmp_path: Path, postgres: Cluster) -> None:
    """Also after it was killed in the middle of a transaction that nobody finished."""
    with postgres.database() as url:
        location = Location.parse(url)
        async with running_server(tmp_path, database=location) as server:
            kept = await server.create_entry("spiffe://example.org/ns/a/sa/kept", "unix:uid:1")
            before = await server.bundle()

        def abandon() -> None:
            abandoned = _connected(postgres, location)
            abandoned.execute("update feed set revision = revision + 1")
            abandoned.close()

        await asyncio.to_thread(abandon)
        async with running_server(tmp_path, database=location) as server:
            assert await server.bundle() == before
            again = await server.create_entry("spiffe://example.org/ns/a/sa/more", "unix:uid:2")
            revisions = await asyncio.to_thread(_revisions, postgres, location)
        assert again.revision > kept.revision
        # Without a gap, although the start and the upkeep of a server are changes too: the abandoned one is none.
        assert revisions == list(range(1, revisions[-1] + 1))


def _revisions(postgres: Cluster, location: Location) -> list[int]:
    """Those of the change feed, in order."""
    with _connected(postgres, location) as connection:
        return [row[0] for row in connection.execute("select revision from changes order by revision")]


def _connected(postgres: Cluster, location: Location) -> psycopg.Connection[Any]:
    return psycopg.connect(host=str(postgres.socket_dir), user="postgres", dbname=location.url.database)
