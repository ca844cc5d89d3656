"""Time from applying an intent to the last 403 on open keep-alive connections of fifty real Envoys."""

from __future__ import annotations

from typing import Any

from perf import apply_to_403

NAME = "apply_to_enforced_50"
GOAL, GOAL_MS = 1.2, 60.0
ENVOYS, RUNS = 50, 9


def measure(envoys: int = ENVOYS, runs: int = RUNS) -> dict[str, Any]:
    """The figure `apply_to_enforced_50`: what `apply_to_403` measures at ten, and held to what the push alone takes."""
    found = apply_to_403.measure(envoys, runs)
    met = found["ratio"] <= GOAL and found["value"] <= GOAL_MS
    return {**found, "name": NAME, "goal": f"<= {GOAL}x, <= {GOAL_MS:g} ms", "met": met}
