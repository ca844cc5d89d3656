"""A PostgreSQL that is restarted under two servers and an agent: nobody else has to be."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.demo.workloads import features
from tests import parts
from tests.broker.server.harness import ServerUnderTest
from tests.e2e.three import ID, MINE, PATIENCE, Load, Place, workloads
from tests.postgres import Cluster, cluster

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.slow]


def _stop(made: Cluster) -> None:
    """As an operator's `pg_ctl stop -m fast`."""
    pid = int((made.socket_dir / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    while (made.socket_dir / "data" / "postmaster.pid").exists():
        pass


def _start(made: Cluster) -> subprocess.Popen[bytes]:
    return features.start(features.binaries(), made.socket_dir / "data", made.socket_dir)


def _end(restarted: list[subprocess.Popen[bytes]]) -> None:
    for process in restarted:
        process.send_signal(signal.SIGINT)
        process.wait()


async def _create(load: Load, server: ServerUnderTest, name: str) -> None:
    """As soon as the database takes it."""
    async with asyncio.timeout(PATIENCE):
        while not await load.create(server, name, MINE):
            pass


async def test_a_restart_of_the_database_costs_no_restart_and_no_identity(tmp_path: Path) -> None:
    """While it is away lists and SVIDs come from memory and changes are refused; then all goes on, by push again."""
    parts.postgres()
    async with AsyncExitStack() as stack:
        made = stack.enter_context(cluster())
        restarted: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, restarted)
        url = stack.enter_context(made.database())
        places = [Place(tmp_path / name, url) for name in "ab"]
        for place in places:
            await place.start()
            stack.push_async_callback(place.end)
        one, other = (place.server for place in places)
        assert one is not None
        assert other is not None
        load = Load(places)
        await _create(load, one, "base")
        [holder] = await stack.enter_async_context(workloads(tmp_path, places, 1))
        await holder.until(lambda: ID % "base" in holder.held)
        # 1. Away.
        await asyncio.to_thread(_stop, made)
        entry = pb.Entry(spiffe_id=ID % "lost", selectors=[MINE])
        with pytest.raises(grpc.aio.AioRpcError, match="the database does not answer") as caught:
            await one.admin.CreateEntries(pb.CreateEntriesRequest(entries=[entry]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        for server in (one, other):
            listed = await server.admin.ListEntries(pb.ListEntriesRequest())
            assert [found.spiffe_id for found in listed.entries] == [ID % "base"]
        # 2. Back: either server's changes reach the workload, whichever its agent uses.
        restarted.append(_start(made))
        for number, server in enumerate((one, other)):
            await _create(load, server, f"after{number}")
            await holder.until(lambda number=number: ID % f"after{number}" in holder.held)  # type: ignore[misc]
        assert (holder.ended, holder.lost) == ("", set())
