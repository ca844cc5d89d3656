"""Time from the start of an agent that has not joined yet to its /ready, beside what importing its libraries costs."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

from perf.figure import figure
from perf.stand import ENVIRONMENT, Stand, free_address, stand, started, wait_ready

NAME = "ready_agent"
GOAL = 2.5
RUNS = 5


def _ours(place: Stand) -> float:
    """Milliseconds; the token is made before the clock starts, everything else is the agent's."""
    shutil.rmtree(place.folder / "agent", ignore_errors=True)
    http, token = free_address(), place.token()
    begun = time.perf_counter()
    with started(place.agent_command(http, token), place.folder / "agent.log") as process:
        wait_ready(http, process)
        return (time.perf_counter() - begun) * 1e3


def _limit() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import grpc, cryptography.x509"], check=True, env=ENVIRONMENT)
    return (time.perf_counter() - begun) * 1e3


def measure() -> dict[str, Any]:
    """The figure `ready_agent`."""
    with stand() as place:
        _ours(place), _limit()  # warms the page cache
        pairs = [(_ours(place), _limit()) for _ in range(RUNS)]
    value, bound = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = value / bound
    return figure(
        NAME,
        f"start of an agent with a fresh join token to /ready, p50 of {RUNS}; ratio: ours over the limit",
        value,
        unit="ms",
        runs=[mine for mine, _ in pairs],
        limit=("python starting and importing grpc and cryptography", bound),
        ratio=ratio,
        goal=f"<= {GOAL}x",
        met=ratio <= GOAL,
    )
