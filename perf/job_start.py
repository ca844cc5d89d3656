"""Time that identities, proxies and member sets add to the start of a job of 16 ranks on two nodes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import parts
from tests.e2e.fabric_cluster import Cluster
from tests.e2e.fabric_nodes import Nodes
from tests.e2e.fabric_ranks import INTENT, STORE
from tests.e2e.stack import RINGFENCE

from perf.figure import figure
from perf.job_rank import LOCAL, NODES

NAME = "job_start"
GOAL = 1.0
RUNS = 7
_RANKS = (sys.executable, "-S", "-E", str(Path(__file__).with_name("job_rank.py")))
_STORE = str(STORE)


def measure() -> dict[str, Any]:
    """The figure `job_start`; raises RuntimeError without root."""
    if os.geteuid() != 0:
        raise RuntimeError("network namespaces take root")
    with TemporaryDirectory(prefix="rf") as name, ExitStack() as exits:
        folder = Path(name)
        bare, cluster = Nodes(folder, exits), Cluster(folder, exits, INTENT)
        _bare(bare, folder), _ours(cluster, folder)  # warms the page cache
        pairs = [(_ours(cluster, folder), _bare(bare, folder)) for _ in range(RUNS)]
    added = [ours - without for ours, without in pairs]
    value = statistics.median(added)
    return figure(
        NAME,
        (
            f"start of a job of {NODES * LOCAL} ranks on {NODES} nodes by `ringfence run --fabric --rank`, until all "
            "have met at rank 0's store and the nodes on the fabric, less the same without Ringfence (ranks are forks "
            f"that import nothing: what PyTorch takes is in neither), median of {RUNS}"
        ),
        value,
        unit="s",
        runs=added,
        limit=("the bare start", statistics.median(without for _, without in pairs)),
        goal=f"<= {GOAL} s",
        met=value <= GOAL,
    )


def _bare(nodes: Nodes, folder: Path) -> float:
    """Seconds, on two nodes that know nothing of Ringfence."""
    env = {"MASTER_ADDR": Nodes.RANK_CONTROL, "MASTER_PORT": _STORE, "FABRIC_HOST": Nodes.RANK}
    names = (nodes.rank, nodes.peer)
    return _started([_within(name, *_RANKS) for name in names], [env] * NODES, folder)


def _ours(cluster: Cluster, folder: Path) -> float:
    """Seconds, by the agents of two nodes."""
    commands, env = [], {"FABRIC_HOST": cluster.nodes[0].address, "XDG_RUNTIME_DIR": str(folder)}
    for rank, node in enumerate(cluster.nodes):
        run = (*RINGFENCE, "run", "--socket", str(node.socket), "--name", "trainer", "--namespace", "team-a")
        place = ("--fabric", "fab", "--rank", str(rank), "--rendezvous", "c10d", "--inbound-host", node.control)
        commands.append(_within(node.name, *run, *place, "--", *_RANKS))
    return _started(commands, [env] * NODES, folder)


def _within(namespace: str, *command: str) -> tuple[str, ...]:
    return parts.program("ip", "iproute2"), "netns", "exec", namespace, *command


def _started(commands: Sequence[tuple[str, ...]], environments: Sequence[dict[str, str]], folder: Path) -> float:
    """Seconds from the start of both to the moment at which the last rank of both was ready; raises RuntimeError."""
    said = [folder / f"said-{rank}" for rank in range(NODES)]
    began = time.monotonic()
    running = []
    for rank, (command, more) in enumerate(zip(commands, environments, strict=True)):
        own = {"RANK": str(rank), "SAID": str(said[rank])}
        running.append(subprocess.Popen(command, env={**os.environ, **more, **own}, stderr=subprocess.PIPE))
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if any(process.returncode for process in running):
        raise RuntimeError(b"\n".join(errors).decode())
    return max(float(path.read_text()) for path in said) - began
