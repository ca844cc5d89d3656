"""Time from an entry made at one of three servers to its SVID at an agent of another one, also after a kill -9."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.three import ID, MINE, Load, Place, Workload, workloads
from tests.postgres import cluster

from perf.figure import p99
from ringfence.admin.v1 import admin_pb2

NAME = "entry_to_svid_servers"
GOAL = 50.0  # ms
ROUNDS = 100


async def _one(load: Load, place: Place, holder: Workload, name: str) -> float:
    assert place.server is not None  # for the type checker
    begun = time.perf_counter()
    creating = asyncio.create_task(load.create(place.server, name, MINE))
    await holder.until(lambda: ID % name in holder.held)
    milliseconds = (time.perf_counter() - begun) * 1e3
    await place.server.delete_entry(await creating)
    await holder.until(lambda: ID % name not in holder.held)
    return milliseconds


async def _used(places: list[Place]) -> Place:
    """The one that the agent uses."""
    for place in places:
        if place.server is not None:
            info = await place.server.admin.Info(admin_pb2.InfoRequest())
            if info.agents:
                return place
    raise RuntimeError("no server has the agent")


async def _measure(folder: Path, url: str) -> tuple[list[float], float, list[float]]:
    places = [Place(folder / name, url) for name in "abc"]
    async with AsyncExitStack() as stack:
        for place in places:
            await place.start()
            stack.push_async_callback(place.end)
        [holder] = await stack.enter_async_context(workloads(folder, places, 1))
        load, used = Load(places), await _used(places)
        one = partial(_one, load, next(place for place in places if place is not used), holder)
        server = places[0].server
        assert server is not None  # for the type checker
        await load.create(server, "kept", MINE)  # a stream without any identity would end
        await one("first")
        before = [await one(f"before{number}") for number in range(ROUNDS)]
        await used.kill()
        returned = await one("during")
        return before, returned, [await one(f"after{number}") for number in range(ROUNDS)]


def measure() -> dict[str, Any]:
    """The figure: the worse of before and after."""
    with TemporaryDirectory(prefix="rf-") as name, cluster() as postgres, postgres.database() as url:
        before, returned, after = asyncio.run(_measure(Path(name), url))
    medians = f"{statistics.median(before):.1f} and {statistics.median(after):.1f} ms"
    what = (
        "entry made at another of three servers on one PostgreSQL to SVID on an open stream, before and after kill -9 "
        f"of the agent's server (medians: {medians}; the first after the kill: {returned:.0f} ms)"
    )
    return max((p99(NAME, what, times, GOAL) for times in (before, after)), key=lambda each: float(each["value"]))
