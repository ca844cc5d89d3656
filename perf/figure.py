"""What a figure is: a line of perf/results/latest.json (schema: docs/performance.md)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def figure(
    name: str,
    what: str,
    value: float,
    *,
    unit: str,
    runs: Sequence[float],
    goal: str,
    met: bool,
    limit: tuple[str, float] | None = None,
    ratio: float | None = None,
) -> dict[str, Any]:
    """One figure; *limit* says what bounds it, and how much that took here."""
    return {
        "name": name,
        "what": what,
        "value": value,
        "unit": unit,
        "runs": list(runs),
        "limit": {"what": limit[0], "value": limit[1]} if limit else None,
        "ratio": ratio,
        "goal": goal,
        "met": met,
    }


def within_limit(
    name: str, what: str, pairs: Sequence[tuple[float, float]], *, unit: str, limit: str, goal: float
) -> dict[str, Any]:
    """Medians of *pairs*, ours and the limit's, each taken side by side; ours may be *goal* times the limit's."""
    value, bound = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return figure(
        name,
        f"{what}; ratio: ours over the limit",
        value,
        unit=unit,
        runs=[mine for mine, _ in pairs],
        limit=(limit, bound),
        ratio=ratio,
        goal=f"<= {goal}x",
        met=ratio <= goal,
    )


def p99(name: str, what: str, times: Sequence[float], goal: float) -> dict[str, Any]:
    """The 99th percentile of *times*, in milliseconds, which is not to exceed *goal*."""
    value = statistics.quantiles(times, n=100, method="inclusive")[98]
    return figure(
        name,
        f"{what}, p99 of {len(times)}",
        value,
        unit="ms",
        runs=sorted(times),
        goal=f"<= {goal:g} ms",
        met=value <= goal,
    )
