"""Three servers on one PostgreSQL: any one may be killed, and nobody who holds an identity notices."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from tests.e2e.three import ID, MINE, PATIENCE, Load, Place, workloads
from tests.postgres import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.slow]
AGENTS = 3
_LONGEST = 30.0  # seconds from an entry to its SVID with a server just killed; the bench has the figure


@pytest.mark.timeout(300)
async def test_killing_any_server_costs_no_identity_and_no_entry(tmp_path: Path, postgres: Cluster) -> None:
    """Each in turn, under load: streams go on, SVIDs are renewed in time, entries are there once, for everyone."""
    with postgres.database() as url:
        places = [Place(tmp_path / name, url) for name in "abc"]
        async with AsyncExitStack() as stack:
            for place in places:
                await place.start()
                stack.push_async_callback(place.end)
            load = Load(places)
            first = places[0].server
            assert first is not None
            assert await load.create(first, "base", MINE)
            held = await stack.enter_async_context(workloads(tmp_path, places, AGENTS))
            for one in held:
                await one.until(lambda one=one: ID % "base" in one.held)  # type: ignore[misc]
            loading = asyncio.create_task(load.run())
            for number, place in enumerate(places):
                # 1. One is killed.
                await place.kill()
                # 2. What is registered now reaches every workload, through the servers that are left.
                living = places[(number + 1) % len(places)].server
                assert living is not None
                name, started = f"after{number}", time.monotonic()
                assert await load.create(living, name, MINE)
                for one in held:
                    await one.until(lambda one=one, name=name: ID % name in one.held)  # type: ignore[misc]
                assert time.monotonic() - started < _LONGEST
                # 3. What was issued before is renewed, and was never out.
                seen = [one.renewals for one in held]
                for one, before in zip(held, seen, strict=True):
                    await one.until(lambda one=one, before=before: one.renewals >= before + 2)  # type: ignore[misc]
                    assert one.earliest_end() > time.time()
                    assert ID % "base" in one.held
                # 4. It comes back, with its own authority and the state of the others.
                await place.start()
            load.ended = True
            await loading
            listed = await _agree(places, load)
            async with asyncio.timeout(PATIENCE):
                for one in held:
                    while await one.entries() != listed:
                        pass
            assert [(one.ended, one.lost) for one in held] == [("", set())] * AGENTS


async def _agree(places: list[Place], load: Load) -> int:
    """Every server lists every entry that was acknowledged, once, and nothing that nobody asked for; how many."""
    lists = [await _listed(place) for place in places]
    async with asyncio.timeout(PATIENCE):
        while lists[0] != lists[1] or lists[1] != lists[2]:  # the last call may still have been on its way
            lists = [await _listed(place) for place in places]
    names = [name for name, _ in lists[0]]
    assert len(names) == len(set(names))
    assert len(load.acknowledged) > len(places)
    expected = {(ID % name, entry_id) for name, entry_id in load.acknowledged.items()}
    assert expected <= set(lists[0])
    assert set(names) - {name for name, _ in expected} <= {ID % name for name in load.unknown}
    return len(names)


async def _listed(place: Place) -> list[tuple[str, str]]:
    assert place.server is not None
    found = await place.server.admin.ListEntries(pb.ListEntriesRequest())
    return sorted((entry.spiffe_id, entry.id) for entry in found.entries)
