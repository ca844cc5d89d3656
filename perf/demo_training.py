"""The training scenario from its command to its end, with what it measured of bytes and of a revocation."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from perf.figure import figure

NAME = "demo_training"
GOAL = 60.0
RUNS = 2


def _once(folder: str) -> dict[str, Any]:
    report = Path(folder, "training.json")
    command = [sys.executable, "-m", "ringfence.broker.cli", "demo", "--scenario", "training", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        sys.exit(f"the demo failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    facts: dict[str, Any] = json.loads(report.read_text())
    return facts


def measure() -> dict[str, Any]:
    """The figure `demo_training`."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        runs = [_once(folder) for _ in range(RUNS)]
    told = min(runs, key=lambda facts: float(facts["seconds"]))
    training, revoked = told["training"], max(told["revoke"]["ms"].values())
    job = f"torch {training['torch']}, {training['world']} ranks, first step after {training['first_step_s']} s"
    return figure(
        NAME,
        (
            f"`ringfence demo --scenario training`: {job}; rank 0's node: {_bytes(told)}; a revoked rank is out of "
            f"both nodes' sets after {revoked} ms; "
            f"the quicker of {RUNS}"
        ),
        told["seconds"],
        unit="s",
        runs=[facts["seconds"] for facts in runs],
        goal=f"<= {GOAL:g} s",
        met=told["seconds"] <= GOAL,
    )


def _bytes(told: dict[str, Any]) -> str:
    """Of rank 0's node, as its leak test proved."""
    parts = {part["part"]: part for part in told["leaks"]["nodes"]["node0"]["items"]}
    fabric, control = (parts[name]["figures"][0] for name in ("fabric", "control"))
    return f"{fabric}, {control}"
