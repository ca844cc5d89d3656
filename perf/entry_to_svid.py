"""Time from the creation of an entry on the server to its SVID on an open Workload API stream."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

from perf.figure import p99
from perf.rounds import Acting, operator
from perf.spire_rounds import beside_spire
from perf.stand import TRUST_DOMAIN, Stand, stand

NAME = "entry_to_svid"
GOAL = 50.0  # ms
ROUNDS = 100
FEW, MANY = 10, 100_000
_FILE = 20_000  # entries that one command creates


async def _rounds(acting: Acting, _: Path, rounds: int, tag: str = "new") -> list[float]:
    """Milliseconds from just before CreateEntries to the message that shows the new SVID, one entry at a time."""
    await acting.create(f"{tag}-first")
    call = await acting.opened()
    times, made = [], []
    for number in range(rounds):
        begun = time.perf_counter()
        creating = asyncio.create_task(acting.create(f"{tag}-{number}"))
        wanted = f"/ns/perf/sa/{tag}-{number}"
        while not any(svid.spiffe_id.endswith(wanted) for svid in (await call.read()).svids):
            pass
        times.append((time.perf_counter() - begun) * 1e3)
        made.append(await creating)
    call.cancel()
    for entry_id in made:
        await acting.delete(entry_id)
    return times


async def _times(place: Stand, tag: str) -> list[float]:
    async with operator(place) as acting:
        return await _rounds(acting, place.socket, ROUNDS, tag)


def _fill(place: Stand, count: int) -> None:
    """Register *count* workloads of other nodes, as a cluster's server has them."""
    for start in range(0, count, _FILE):
        file = place.folder / f"others-{start}.json"
        entries = [
            {
                "spiffeId": f"/ns/other/sa/w{number}",
                "parentId": f"spiffe://{TRUST_DOMAIN}/ringfence/agent/x509pop/node-{number % 1_000}",
                "selectors": [f"unix:uid:{number}"],
            }
            for number in range(start, min(start + _FILE, count))
        ]
        file.write_text(json.dumps(entries), encoding="utf-8")
        place.command("entry", "apply", str(file), patience=120)


def measure() -> dict[str, Any]:
    """The figure `entry_to_svid`: the worse of the two."""
    found = {}
    with stand() as place, place.agent():
        for others in (FEW, MANY):
            _fill(place, others)
            found[others] = asyncio.run(_times(place, f"with-{others}"))
    medians = ", ".join(f"{statistics.median(times):.1f} ms with {others:,}" for others, times in found.items())
    figures = [
        p99(NAME, f"entry created to SVID on an open stream (medians: {medians} other entries)", times, GOAL)
        for times in found.values()
    ]
    return beside_spire(max(figures, key=lambda figure: float(figure["value"])), _rounds)
