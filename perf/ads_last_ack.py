"""Time from a change of 2 KiB to the last ACK of up to 5,000 ADS streams over mTLS, beside go-control-plane."""

from __future__ import annotations

import statistics
from typing import Any

from perf.ads_peers import beside, pushes

NAME = "ads_last_ack"
GOAL = 1.0
SCALES = (100, 1000, 5000)
RUNS = 9
SIZE = 2048


def measure(scales: tuple[int, ...] = SCALES, runs: int = RUNS) -> dict[str, Any]:
    """The figure `ads_last_ack`: of the most streams; the others are said beside, and must meet the goal too."""
    taken = {streams: [_milliseconds(pair) for pair in pushes(streams, runs, size=SIZE)] for streams in scales}
    most = max(scales)
    made = beside(
        NAME,
        f"a change of 2 KiB to the last ACK of {most} streams ({'; '.join(map(_said, taken.items()))})",
        taken[most],
        unit="ms",
        goal=GOAL,
        value=statistics.median,
    )
    return {**made, "met": made["met"] and all(_ratio(pairs) <= GOAL for pairs in taken.values())}


def _said(scale: tuple[int, list[list[float]]]) -> str:
    streams, pairs = scale
    medians = [f"{statistics.median(column):.1f}" for column in zip(*pairs, strict=True)]
    ratio = f", {_ratio(pairs):.2f}x" if len(medians) > 1 else ""
    return f"{streams}: {' and '.join(medians)} ms{ratio}"


def _ratio(pairs: list[list[float]]) -> float:
    return statistics.median(pair[0] / pair[-1] for pair in pairs)


def _milliseconds(sides: tuple[dict[str, float], ...]) -> list[float]:
    return [side["wall"] * 1e3 for side in sides]
