"""An agent that starts while its server is down: from its start to the first SVID that it hands out."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from perf.fetch_x509_fresh import fetch
from perf.figure import figure
from perf.stand import OWN_UID, free_address, stand, started, wait_until

NAME = "agent_restart_offline"
GOAL = 1.0  # s
RUNS = 7
_WRITTEN_SECONDS = 2.0  # after which an agent has put on disk what it holds


def _first_svid(command: list[str], socket: Path, log: Path) -> float:
    """Seconds from the start of *command* to a whole answer on *socket*; it is killed then."""
    begun = time.perf_counter()
    with started(command, log) as process:
        wait_until(socket.exists, process)
        if not fetch(socket):
            raise RuntimeError("the answer is empty")
        seconds = time.perf_counter() - begun
        process.send_signal(signal.SIGKILL)
        process.wait()
    socket.unlink(missing_ok=True)
    return seconds


def measure() -> dict[str, Any]:
    """The figure `agent_restart_offline`."""
    with stand() as place:
        with place.agent():
            place.command("entry", "create", "--spiffe-id", "spiffe://example.org/ns/a/sa/w", "--selector", OWN_UID)
            fetch(place.socket)
            time.sleep(_WRITTEN_SECONDS)
        os.kill(place.pid, signal.SIGKILL)
        command = place.agent_command(free_address(), "")
        times = [_first_svid(command, place.socket, place.folder / "agent.log") for _ in range(RUNS)]
    value = statistics.median(times)
    return figure(
        NAME,
        f"agent started with its server down, to the first SVID, median of {RUNS}; SPIRE's opens no socket",
        value,
        unit="s",
        runs=sorted(times),
        goal=f"<= {GOAL:g} s",
        met=value <= GOAL,
    )
