"""CPU that the server spends on an SVID asked for in batches, beside what cryptography alone costs."""

from __future__ import annotations

import asyncio
import json
import statistics
from time import process_time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from perf import spire
from perf.acting_agent import ActingAgent, acting_agent, requests
from perf.figure import figure
from perf.spire_issue import microseconds
from perf.stand import Stand, cpu_seconds, stand

NAME = "issue_batch"
GOAL, PEERS_GOAL = 2.2, 0.75
BATCH = 50
BATCHES = 40  # a run; ours and the limit alternate, so that both meet the same machine
RUNS = 7
# SPIRE's BatchNewX509SVID, eight callers with 50 each and its rate limit off: 197 to 234 us on a machine of this kind.
SPIRE_US = 215.0


async def _run(agent: ActingAgent, pid: int, wanted: list[tuple[str, bytes]]) -> float:
    """Microseconds of the server's CPU an SVID, its store's thread and all included."""
    before = cpu_seconds(pid)
    for _ in range(BATCHES):
        if await agent.svids(wanted) != BATCH:
            raise RuntimeError("an SVID was refused")
    return (cpu_seconds(pid) - before) / (BATCH * BATCHES) * 1e6


def _limit() -> float:
    """Microseconds of one verify and one sign."""
    key, message, ecdsa = ec.generate_private_key(ec.SECP256R1()), b"x" * 400, ec.ECDSA(hashes.SHA256())
    public_key, signature = key.public_key(), key.sign(message, ecdsa)
    begun = process_time()
    for _ in range(BATCH * BATCHES):
        public_key.verify(signature, message, ecdsa)
        key.sign(message, ecdsa)
    return (process_time() - begun) / (BATCH * BATCHES) * 1e6


async def _measure(place: Stand) -> list[tuple[float, float]]:
    _create(place)
    async with acting_agent(place) as agent:
        wanted = requests((await agent.entries(BATCH))[:BATCH], ec.generate_private_key(ec.SECP256R1()))
        await _run(agent, place.pid, wanted)  # warms it
        return [(await _run(agent, place.pid, wanted), _limit()) for _ in range(RUNS)]


def _create(place: Stand) -> None:
    file = place.folder / "entries.json"
    entries = [{"spiffeId": f"/ns/perf/sa/w{number}", "selectors": [f"unix:uid:{number}"]} for number in range(BATCH)]
    file.write_text(json.dumps(entries), encoding="utf-8")
    place.command("entry", "apply", str(file))


def measure() -> dict[str, Any]:
    """The figure `issue_batch`."""
    theirs_us = microseconds() if spire.wanted() else SPIRE_US
    with stand() as place:
        pairs = asyncio.run(_measure(place))
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    value = statistics.median(mine for mine, _ in pairs)
    return figure(
        NAME,
        f"server CPU an SVID, agent API over mTLS, batches of {BATCH}, recorded before and after signing; "
        f"{value / theirs_us:.2f}x of {theirs_us:.0f} us ({spire.described(spire.wanted())}; goal {PEERS_GOAL}x)",
        value,
        unit="us",
        runs=sorted(mine for mine, _ in pairs),
        limit=("one P-256 verify and one sign by cryptography", statistics.median(theirs for _, theirs in pairs)),
        ratio=ratio,
        goal=f"<= {GOAL}x",
        met=ratio <= GOAL and value <= PEERS_GOAL * theirs_us,
    )
