"""Time of `ringfence entry apply` with 10,000 new entries from a file, the command's own start included."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from perf import spire
from perf.figure import figure
from perf.stand import TRUST_DOMAIN, Stand, stand

NAME = "create_10000"
GOAL = 2.0  # s
ENTRIES = 10_000
RUNS = 3
_SPIRE = 5.5  # s, measured on a machine of this kind; `spire-server entry create -data FILE`
_PATIENCE = 120.0  # seconds


def _measure(place: Stand, run: int) -> float:
    """Seconds from the command's start to its end: every entry is on disk and in memory then."""
    file = place.folder / f"entries-{run}.json"
    entries = [
        {"spiffeId": f"/ns/perf/sa/w{run}-{number}", "selectors": [f"unix:uid:{number}", "unix:gid:1000"]}
        for number in range(ENTRIES)
    ]
    file.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    begun = time.perf_counter()
    done = place.command("entry", "apply", str(file), "-o", "name")
    seconds = time.perf_counter() - begun
    if len(done.splitlines()) != ENTRIES:
        raise RuntimeError(f"{len(done.splitlines())} of {ENTRIES} entries were created")
    return seconds


def _peer() -> float:
    """The same of SPIRE's command line; what was measured elsewhere when peers are not wanted."""
    if not spire.wanted():
        return _SPIRE
    with spire.spire() as peer:
        file = peer.folder / "entries.json"
        entries = [
            {
                "spiffe_id": f"spiffe://{TRUST_DOMAIN}/ns/perf/sa/w{number}",
                "parent_id": spire.AGENT_ID,
                # One, not two as ours: one that all entries share costs SPIRE a search of all before it each time.
                "selectors": [{"type": "unix", "value": f"uid:{number}"}],
            }
            for number in range(ENTRIES)
        ]
        file.write_text(json.dumps({"entries": entries}), encoding="utf-8")
        begun = time.perf_counter()
        peer.command("entry", "create", "-data", str(file), patience=_PATIENCE)
        return time.perf_counter() - begun


def measure() -> dict[str, Any]:
    """The figure `create_10000`."""
    times = []
    for run in range(RUNS):
        with stand() as place:
            times.append(_measure(place, run))
    value, theirs = statistics.median(times), _peer()
    return figure(
        NAME,
        f"{ENTRIES} entries created from a file by the command line, median of {RUNS}",
        value,
        unit="s",
        runs=sorted(times),
        limit=(spire.described(spire.wanted()), theirs),
        ratio=value / theirs,
        goal=f"<= {GOAL:g} s",
        met=value <= GOAL,
    )
