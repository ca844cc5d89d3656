"""Time of `ringfence fabric doctor` with everything that it can judge at once: files of a busy node, and this node."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.fabric_nodes import Nodes
from tests.e2e.test_fabric_apply import CAPTURE, INTENT
from tests.fabric.doctor import samples

from perf.figure import figure

NAME = "doctor_full"
GOAL = 2.0  # s
RUNS = 9
RANKS = 8  # of one node, each with a log
LINES = 5000  # of a log: 1 MB at NCCL_DEBUG_SUBSYS=INIT,GRAPH,NET
SOCKETS = 5000
FLOWS = 20_000
DEVICES = 8
MEMBERS = 254
# Counters of a port of mlx5; how many there are is what matters.
_COUNTERS = {"counters": 25, "hw_counters": 35, "pkeys": 128, "gids": 16}


def _written(folder: Path) -> list[str]:
    """The options of all texts, in files of *folder*."""
    told: list[str] = []

    def write(option: str, text: str, prefix: str = "") -> None:
        file = folder / f"{len(told)}"
        file.write_text(text)
        told.extend((f"--{option}", f"{prefix}{file}"))

    channel = samples.NEW_LOG.splitlines()[6] + "\n"
    for _ in range(RANKS):
        write("nccl-log", samples.NEW_LOG + channel * LINES)
    write("nccl-tests", samples.TESTS)
    write("ras", samples.RAS_TEXT)
    socket, figures = samples.SS.splitlines()[2:4]
    write("ss", samples.SS + f"{socket}\n{figures}\n".replace("envoy", "python3").replace("1337", "0") * SOCKETS)
    write("conntrack", samples.CONNTRACK + samples.CONNTRACK.splitlines()[1].replace("10.90", "10.91") * FLOWS)
    write("nstat", samples.NSTAT)
    write("nstat-before", samples.NSTAT)
    write("ethtool", samples.ETHTOOL, "fab0=")
    write("ethtool-before", samples.ETHTOOL, "fab0=")
    write("security-groups", samples.GROUPS)
    write("rdma-system", '[{"netns": "shared"}]')
    for option in ("sysfs", "sysfs-before"):
        told += [f"--{option}", str(_ports(folder / option))]
    return told


def _ports(devices: Path) -> Path:
    """A copy of /sys/class/infiniband with so many devices."""
    for device in range(DEVICES):
        port = devices / f"mlx5_{device}/ports/1"
        for kind, count in _COUNTERS.items():
            (port / kind).mkdir(parents=True)
            for at in range(count):
                (port / kind / (f"counter{at}" if "counters" in kind else str(at))).write_text(f"{at}\n")
        (port / "state").write_text("4: ACTIVE\n")
        (port / "rate").write_text("400 Gb/sec (4X NDR)\n")
    return devices


def _node(nodes: Nodes) -> None:
    """With a fabric's filter on it, and the capture that was got wrong."""
    nodes.apply(*(f"10.91.0.{host}" for host in range(1, MEMBERS + 1)))
    done = nodes.inside("nft", "-f", "-", text=CAPTURE)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def measure(runs: int = RUNS) -> dict[str, Any]:
    """The figure `doctor_full`."""
    with TemporaryDirectory() as place, ExitStack() as exits:
        folder = Path(place)
        (folder / "intent").mkdir()
        (folder / "intent/fabric.yaml").write_text(INTENT)
        nodes = Nodes(folder / "intent", exits)
        _node(nodes)
        command = nodes.command(
            "doctor", "--live", *nodes.intent, "--fabric", "fab", "--peer", nodes.PEER, "--tenants", "2", "--fail-on",
            "never", "-o", "json", *_written(folder)
        )  # fmt: skip
        _took(nodes, command)  # compiles what is not compiled yet
        taken = [_took(nodes, command) for _ in range(runs)]
    value = statistics.median(taken)
    return figure(
        NAME,
        f"`ringfence fabric doctor` from its start to its end: logs of {RANKS} ranks with {LINES:,} lines each, "
        f"{SOCKETS:,} sockets, {FLOWS:,} tracked connections, {DEVICES} RDMA ports twice, and the node live, with a "
        f"fabric's filter of {MEMBERS} members",
        value,
        unit="s",
        runs=taken,
        goal=f"<= {GOAL:g} s",
        met=value <= GOAL,
    )


def _took(nodes: Nodes, command: tuple[str, ...]) -> float:
    """Seconds; what it says has to be whole."""
    started = time.perf_counter()
    done = nodes.inside(*command)
    took = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    for code in ("RF6008", "RF6011", "RF6014", "RF6015", "RF6016"):
        assert code in done.stdout, f"{code} was not found"
    return took
