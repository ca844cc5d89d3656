"""Time from a change to the last ACK of 1,000 ADS streams that each get bytes of their own, beside go-control-plane."""

from __future__ import annotations

import statistics
from typing import Any

from perf.ads_peers import beside, pushes

NAME = "ads_distinct"
GOAL = 1.1
STREAMS, RUNS = 1000, 15
SIZE = 2048


def measure(streams: int = STREAMS, runs: int = RUNS) -> dict[str, Any]:
    """The figure `ads_distinct`: encoding and hashing of what each proxy gets are in it."""
    pairs = [[side["wall"] * 1e3 for side in sides] for sides in pushes(streams, runs, size=SIZE, kind="distinct")]
    what = f"a change of 2 KiB, other bytes for each of {streams} streams, to the last ACK"
    return beside(NAME, what, pairs, unit="ms", goal=GOAL, value=statistics.median)
