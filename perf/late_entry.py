"""A workload that starts before its entry: from the entry's creation to a ready X509Source of the `spiffe` package."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from spiffe import X509Source

from perf.figure import p99
from perf.rounds import Acting, operator
from perf.spire_rounds import beside_spire
from perf.stand import Stand, stand

NAME = "late_entry"
GOAL = 100.0  # ms
ROUNDS = 100
_AHEAD_SECONDS = 0.1  # that the workload waits already


async def _round(socket: Path, acting: Acting, number: int) -> float:
    starting = asyncio.create_task(asyncio.to_thread(X509Source, socket_path=f"unix://{socket}"))
    await asyncio.sleep(_AHEAD_SECONDS)
    if starting.done():
        raise RuntimeError("the workload had an identity before its entry")
    begun = time.perf_counter()
    creating = asyncio.create_task(acting.create(f"late-{number}"))
    source = await starting
    milliseconds = (time.perf_counter() - begun) * 1e3
    source.close()
    await acting.delete(await creating)
    return milliseconds


async def _rounds(acting: Acting, socket: Path, rounds: int) -> list[float]:
    return [await _round(socket, acting, number) for number in range(rounds)]


async def _measure(place: Stand) -> list[float]:
    async with operator(place) as acting:
        return await _rounds(acting, place.socket, ROUNDS)


def measure() -> dict[str, Any]:
    """The figure `late_entry`."""
    with stand() as place, place.agent():
        times = asyncio.run(_measure(place))
    what = "entry created to X509Source ready in a workload that waits for it"
    return beside_spire(p99(NAME, what, times, GOAL), _rounds)
