"""Time from the start of a server with an empty data directory to its /ready, beside what importing libraries costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perf.figure import figure
from perf.stand import free_address, started, wait_ready

NAME = "ready_server"
GOAL = 6
RUNS = 5


def _ours() -> float:
    """Milliseconds, a new database and a new authority included."""
    http = free_address()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "ringfence.broker.cli", "server", "run", "--trust-domain", "example.org"),
            *("--data-dir", f"{folder}/data", "--listen", free_address(), "--http-listen", http),
        ]
        begun = time.perf_counter()
        with started(command, Path(folder) / "server.log") as process:
            wait_ready(http, process)
            return (time.perf_counter() - begun) * 1e3


def _limit() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import grpc, cryptography.x509"], check=True)
    return (time.perf_counter() - begun) * 1e3


def measure() -> dict[str, Any]:
    """The figure `ready_server`."""
    _ours(), _limit()  # warms the page cache
    pairs = [(_ours(), _limit()) for _ in range(RUNS)]
    value, bound = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = value / bound
    return figure(
        NAME,
        f"start of a server with an empty data directory to /ready, p50 of {RUNS}; ratio: ours over the limit",
        value,
        unit="ms",
        runs=[mine for mine, _ in pairs],
        limit=("python starting and importing grpc and cryptography", bound),
        ratio=ratio,
        goal=f"<= {GOAL}x",
        met=ratio <= GOAL,
    )
