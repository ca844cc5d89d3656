"""Time of `ringfence entry apply` with 10,000 new entries from a file, the command's own start included."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from perf.figure import figure
from perf.stand import Stand, stand

NAME = "create_10000"
GOAL = 2.0  # s
ENTRIES = 10_000
RUNS = 3
_SPIRE = 5.5  # s, measured on a machine of this kind; `spire-server entry create -data FILE`


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


def measure() -> dict[str, Any]:
    """The figure `create_10000`."""
    times = []
    for run in range(RUNS):
        with stand() as place:
            times.append(_measure(place, run))
    value = statistics.median(times)
    return figure(
        NAME,
        f"{ENTRIES} entries created from a file by the command line, median of {RUNS}",
        value,
        unit="s",
        runs=sorted(times),
        limit=("SPIRE 1.16 on another machine of this kind, not in this run", _SPIRE),
        ratio=value / _SPIRE,
        goal=f"<= {GOAL:g} s",
        met=value <= GOAL,
    )
