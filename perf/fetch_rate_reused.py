"""How many SVIDs a second one agent hands out on a connection that is open."""

from __future__ import annotations

from typing import Any

from perf import fetch_rate

NAME = "fetch_rate_reused"
GOAL = 1.2


def measure() -> dict[str, Any]:
    """The figure `fetch_rate_reused`."""
    return fetch_rate.measure(NAME, "reused", "FetchX509SVID a second, on a connection that is open", GOAL)
