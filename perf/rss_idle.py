"""Memory of server and agent together, idle after everything that the demo did to them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perf.figure import figure

NAME = "rss_idle"
GOAL_MIB = 220
RUNS = 2


def _once(folder: str) -> float:
    report = Path(folder, "demo.json")
    command = [sys.executable, "-m", "ringfence.broker.cli", "demo", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        sys.exit(f"the demo failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    rss: dict[str, float] = json.loads(report.read_text())["rss_mib"]
    time.sleep(1)
    return sum(rss.values())


def measure() -> dict[str, Any]:
    """The figure `rss_idle`."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [_once(folder) for _ in range(RUNS)]
    value = max(runs)
    return figure(
        NAME,
        "VmRSS of server plus agent at the end of the demo, the larger of the runs",
        value,
        unit="MiB",
        runs=runs,
        goal=f"<= {GOAL_MIB} MiB",
        met=value <= GOAL_MIB,
    )
