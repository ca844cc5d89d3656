"""How many SVIDs a second one agent hands out each on a connection of its own."""

from __future__ import annotations

from typing import Any

from perf import fetch_rate

NAME = "fetch_rate_fresh"
GOAL = 1.0


def measure() -> dict[str, Any]:
    """The figure `fetch_rate_fresh`."""
    return fetch_rate.measure(NAME, "fresh", "FetchX509SVID a second, each on a connection of its own", GOAL)
