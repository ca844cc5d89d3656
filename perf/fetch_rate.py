"""FetchX509SVID from a Go program with 64 callers at once: how many a second one agent answers, beside SPIRE's."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perf import spire
from perf.figure import figure
from perf.stand import OWN_UID, stand

CALLERS = 64
CALLS = 6_000  # a run; ours and SPIRE's alternate, so that both meet the same machine
RUNS = 5
_PATIENCE = 60.0  # seconds
# On a machine of this kind, where SPIRE is not measured in the same run.
_ELSEWHERE = {"reused": 5_940.0, "fresh": 3_340.0}


def _fetch(socket: Path, mode: str, callers: int, calls: int) -> dict[str, Any]:
    command = [str(spire.BIN / "workload-load"), "fetch", str(socket), mode, str(callers), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _wait_for(socket: Path) -> None:
    """Until that agent has heard of the entry: SPIRE's asks its server every five seconds."""
    deadline = time.monotonic() + _PATIENCE
    while _fetch(socket, "fresh", 1, 1)["failures"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{socket} gives no SVID after {_PATIENCE:g} s")
        time.sleep(0.5)


def rate(socket: Path, mode: str) -> float:
    """Calls a second; raises RuntimeError if one fails."""
    found = _fetch(socket, mode, CALLERS, CALLS)
    if found["failures"]:
        raise RuntimeError(f"{found['failures']} of {CALLS} calls failed: {found['error']}")
    return float(CALLS / found["seconds"])


def measure(name: str, mode: str, what: str, goal: float) -> dict[str, Any]:
    """The figure *name*: connections are *mode*, reused or fresh."""
    if not (spire.BIN / "workload-load").exists():
        sys.exit(f"{name} needs the Go client: run make parts first")
    with ExitStack() as open_:
        place = open_.enter_context(stand())
        open_.enter_context(place.agent())
        place.command("entry", "create", "--spiffe-id", "spiffe://example.org/ns/a/sa/w", "--selector", OWN_UID)
        peer = open_.enter_context(spire.spire()) if spire.wanted() else None
        if peer is not None:
            peer.entry("ns/a/sa/w", OWN_UID)
            _wait_for(peer.socket)
        rate(place.socket, mode)  # warms it
        pairs = [(rate(place.socket, mode), rate(peer.socket, mode) if peer else _ELSEWHERE[mode]) for _ in range(RUNS)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return figure(
        name,
        f"{what}, {CALLERS} callers in a Go client on the same cores; ratio: ours over SPIRE's",
        statistics.median(mine for mine, _ in pairs),
        unit="1/s",
        runs=sorted(mine for mine, _ in pairs),
        limit=(spire.described(peer is not None), statistics.median(theirs for _, theirs in pairs)),
        ratio=ratio,
        goal=f">= {goal}x",
        met=ratio >= goal,
    )
