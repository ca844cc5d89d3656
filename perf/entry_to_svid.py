"""Time from the creation of an entry on the server to its SVID on an open Workload API stream."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import grpc.aio

from perf.stand import OWN_UID, Stand, stand
from ringfence.admin.v1 import admin_pb2
from ringfence.proto import workload
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

NAME = "entry_to_svid"
GOAL = 50.0  # ms
ENTRIES = 100


async def _measure(place: Stand) -> list[float]:
    """Milliseconds from just before CreateEntries to the message that shows the new SVID, one entry at a time."""
    async with (
        grpc.aio.insecure_channel(f"unix:{place.admin}") as admin_channel,
        grpc.aio.insecure_channel(f"unix:{place.socket}") as agent_channel,
    ):
        admin = Client(admin_channel, service_of(admin_pb2, "Server"))
        await _create(admin, "spiffe://example.org/ns/perf/sa/first")
        call = Client(agent_channel, workload.DESCRIPTOR).FetchX509SVID(
            workload.X509SVIDRequest(), metadata=(workload.SECURITY_HEADER,)
        )
        await call.read()
        times = []
        for number in range(ENTRIES):
            spiffe_id = f"spiffe://example.org/ns/perf/sa/w{number}"
            begun = time.perf_counter()
            creating = asyncio.create_task(_create(admin, spiffe_id))
            while spiffe_id not in {svid.spiffe_id for svid in (await call.read()).svids}:
                pass
            times.append((time.perf_counter() - begun) * 1e3)
            await creating
        call.cancel()
        return times


async def _create(admin: Client, spiffe_id: str) -> None:
    entry = admin_pb2.Entry(spiffe_id=spiffe_id, selectors=[OWN_UID])
    await admin.CreateEntries(admin_pb2.CreateEntriesRequest(entries=[entry]))


def measure() -> dict[str, Any]:
    """The figure `entry_to_svid`."""
    with stand() as place, place.agent():
        times = asyncio.run(_measure(place))
    value = statistics.quantiles(times, n=100, method="inclusive")[98]
    return {
        "name": NAME,
        "what": f"entry created to SVID on an open stream, p99 of {ENTRIES}",
        "value": value,
        "unit": "ms",
        "runs": sorted(times),
        "limit": None,
        "ratio": None,
        "goal": f"<= {GOAL:g} ms",
        "met": value <= GOAL,
    }
