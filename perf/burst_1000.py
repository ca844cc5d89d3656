"""A job of a thousand ranks starts on one node: until each has its own SVID, made for it in this moment."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from perf.figure import figure
from perf.stand import Stand, stand

NAME = "burst_1000"
GOAL = 3.0  # s
BURSTS = 100
WORKLOADS = 1_000
_FIRST_UID = 100_000
_PATIENCE = 120.0  # seconds for one burst
# Without site-packages: a fork of a small process is a small process.
_CLIENT = (sys.executable, "-I", "-S", str(Path(__file__).with_name("burst_client.py")))


def _entries(place: Stand, burst: int) -> None:
    """Give each user a name of its own, another one in each burst, so that nothing is there beforehand."""
    file = place.folder / "ranks.json"
    entries = [
        {"spiffeId": f"/job/{burst}/rank/{number}", "selectors": [f"unix:uid:{_FIRST_UID + number}"]}
        for number in range(WORKLOADS)
    ]
    file.write_text(json.dumps(entries), encoding="utf-8")
    place.command("entry", "apply", str(file), "--prune", patience=_PATIENCE)


def _burst(place: Stand) -> list[float | None]:
    """Seconds from the common start to each workload's SVID, None for one that got none."""
    command = [*_CLIENT, str(place.socket), str(WORKLOADS), str(_FIRST_UID)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        if client.stdout is None or client.stdin is None or client.stdout.readline() != "ready\n":
            raise RuntimeError("the workloads did not start")
        client.stdin.write("go\n")
        client.stdin.flush()
        found: list[float | None] = json.loads(client.stdout.readline())
    return found


def _limit() -> float:
    """Seconds for the keys and signatures alone, on one core."""
    authority, ecdsa = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    begun = perf_counter()
    for _ in range(WORKLOADS):
        ec.generate_private_key(ec.SECP256R1())
        authority.sign(b"x" * 400, ecdsa)
    return perf_counter() - begun


def measure() -> dict[str, Any]:
    """The figure `burst_1000`."""
    if os.geteuid() != 0:
        sys.exit(f"{NAME} needs root: each workload runs as a user of its own")
    served, failed = [], 0
    with stand() as place, place.agent():
        place.folder.chmod(0o711)  # workloads of other users are to reach the socket
        place.socket.chmod(0o777)
        for burst in range(BURSTS):
            _entries(place, burst)
            found = [seconds for seconds in _burst(place) if seconds is not None]
            failed += WORKLOADS - len(found)
            served.append(max(found))
    limit = _limit()
    return figure(
        NAME,
        f"{WORKLOADS} workloads open their stream at once, each with an identity of its own, to the last SVID: "
        f"the slowest of {BURSTS} bursts, {failed} failures",
        max(served),
        unit="s",
        runs=sorted(served),
        limit=(f"{WORKLOADS} key generations and signatures on one core", limit),
        ratio=statistics.median(served) / limit,
        goal=f"<= {GOAL:g} s, none fails",
        met=max(served) <= GOAL and not failed,
    )
