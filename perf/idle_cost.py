"""What a server with ten thousand entries and a hundred agents costs while nothing happens."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from perf.acting_agent import acting_agent
from perf.figure import figure
from perf.stand import Stand, cpu_seconds, rss_kib, stand
from ringfence.admin.v1 import admin_pb2
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

NAME = "idle_cost"
GOAL_MIB, GOAL_SECONDS = 150.0, 0.5
AGENTS, ENTRIES = 100, 10_000
_SETTLE_SECONDS, _IDLE_SECONDS = 5.0, 60.0
_QUERIES = "ringfence_store_query_seconds_count"


def _queries(place: Stand) -> float:
    """Transactions of the store since the start."""
    with urllib.request.urlopen(f"http://{place.http}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(_QUERIES)).split()[1])


async def _tokens(place: Stand) -> list[str]:
    async with grpc.aio.insecure_channel(f"unix:{place.admin}") as channel:
        admin = Client(channel, service_of(admin_pb2, "Server"))
        return [str((await admin.GenerateToken(admin_pb2.GenerateTokenRequest())).token) for _ in range(AGENTS)]


async def _measure(place: Stand) -> tuple[float, float, float]:
    """CPU seconds, store transactions and MiB of one idle minute."""
    async with AsyncExitStack() as agents:
        for token in await _tokens(place):
            agent = await agents.enter_async_context(acting_agent(place, token))
            await agent.entries(ENTRIES)
        await asyncio.sleep(_SETTLE_SECONDS)
        queries, cpu = _queries(place), cpu_seconds(place.pid)
        await asyncio.sleep(_IDLE_SECONDS)
        return cpu_seconds(place.pid) - cpu, _queries(place) - queries, rss_kib(place.pid) / 1024


def measure() -> dict[str, Any]:
    """The figure `idle_cost`."""
    with stand() as place:
        file = place.folder / "entries.json"
        entries = [
            {"spiffeId": f"/ns/a/sa/w{number}", "selectors": [f"unix:uid:{number}"]} for number in range(ENTRIES)
        ]
        file.write_text(json.dumps(entries), encoding="utf-8")
        place.command("entry", "apply", str(file))
        cpu, queries, mib = asyncio.run(_measure(place))
    return figure(
        NAME,
        f"server with {ENTRIES} entries, {AGENTS} agents that each know them all, idle for a minute: CPU; "
        f"{queries:g} transactions of the store (goal 0), {mib:.0f} MiB (goal {GOAL_MIB:g}); SPIRE 1.3 s and 188 MiB",
        cpu,
        unit="s/min",
        runs=[cpu],
        goal=f"<= {GOAL_SECONDS:g} s, 0 queries, <= {GOAL_MIB:g} MiB",
        met=cpu <= GOAL_SECONDS and queries == 0 and mib <= GOAL_MIB,
    )
