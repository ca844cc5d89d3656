"""Time from the deletion of an entry to the end of the stream that showed its SVID."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from perf.figure import p99
from perf.rounds import Acting, operator
from perf.spire_rounds import beside_spire
from perf.stand import Stand, stand

NAME = "delete_to_end"
GOAL = 50.0  # ms
ROUNDS = 100


async def _round(acting: Acting, number: int) -> float:
    entry_id = await acting.create(f"gone-{number}")
    call = await acting.opened()
    begun = time.perf_counter()
    deleting = asyncio.create_task(acting.delete(entry_id))
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
            raise
    else:
        raise RuntimeError("the stream went on")
    milliseconds = (time.perf_counter() - begun) * 1e3
    await deleting
    return milliseconds


async def _rounds(acting: Acting, _: Path, rounds: int) -> list[float]:
    return [await _round(acting, number) for number in range(rounds)]


async def _measure(place: Stand) -> list[float]:
    async with operator(place) as acting:
        return await _rounds(acting, place.socket, ROUNDS)


def measure() -> dict[str, Any]:
    """The figure `delete_to_end`."""
    with stand() as place, place.agent():
        times = asyncio.run(_measure(place))
    return beside_spire(p99(NAME, "entry deleted to the stream's PERMISSION_DENIED", times, GOAL), _rounds)
