"""Server CPU to push equal bytes to 1,000 ADS streams over mTLS and take an ACK, beside go-control-plane."""

from __future__ import annotations

import statistics
from typing import Any

from perf.ads_peers import beside, pushes

NAME = "ads_cpu_push"
GOAL = 0.75
STREAMS, RUNS = 1000, 15
SIZES = (2048, 20_480)


def measure(streams: int = STREAMS, runs: int = RUNS) -> dict[str, Any]:
    """The figure `ads_cpu_push`: of 2 KiB; 20 KiB is said beside, and must meet the goal too."""
    small, big = ([_microseconds(pair, streams) for pair in pushes(streams, runs, size=size)] for size in SIZES)
    columns = [statistics.median(column) for column in zip(*big, strict=True)]
    worse = statistics.median(mine / theirs for mine, theirs in big) if len(columns) > 1 else 0.0
    beside_it = f", go-control-plane's {columns[1]:.1f}, {worse:.2f}x" if len(columns) > 1 else ""
    made = beside(
        NAME,
        f"a change of 2 KiB to {streams} streams, server CPU a push and ACK (20 KiB: {columns[0]:.1f} us{beside_it})",
        small,
        unit="us",
        goal=GOAL,
        value=statistics.median,
    )
    return {**made, "met": made["met"] and worse <= GOAL}


def _microseconds(sides: tuple[dict[str, float], ...], streams: int) -> list[float]:
    return [side["cpu"] / streams * 1e6 for side in sides]
