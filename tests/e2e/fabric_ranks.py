"""Ranks of a job started by `ringfence run` on the nodes of a cluster: torchrun with gloo, behind Envoys."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.run.admin import ask
from tests import parts
from tests.e2e.captured import everybodys_python
from tests.e2e.fabric_cluster import Cluster, Node
from tests.e2e.plane import until
from tests.e2e.stack import RINGFENCE

STORE = 29511  # in namespaces that are the test's alone, where 29500 is taken
BYTES = 8 << 20  # of one of the ROUNDS that every rank takes part in
ROUNDS = 6
# Sums, says what came of it, and stays until its file is there. A ring of two sends each byte once, both ways.
_SCRIPT = f"""
import os, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
data = torch.ones({BYTES} // 4)
for _ in range({ROUNDS}):
    dist.all_reduce(data)
print("sum", int(data[0]), flush=True)
dist.barrier()
open(os.environ["SAID"], "w").write(str(int(data[0])))
while not os.path.exists(os.environ["ENOUGH"]):
    time.sleep(0.05)
"""
# The torch of Debian reads "0", the default of these two, wrongly with this Python.
_TORCH_1_13 = {"PET_TEE": "1", "PET_REDIRECTS": "1"}


class Rank:
    """One `ringfence run -- torchrun`; *flags* are added to what every rank has, in the network *within*."""

    def __init__(self, cluster: Cluster, node: Node, number: int, flags: Sequence[str] = (), within: str = "") -> None:
        self.node, self.number = node, number
        self._base = cluster.folder / f"rank{number}"
        self._base.mkdir(exist_ok=True)
        self._log = self._base / "log"
        self._said, self._enough = self._base / "said", self._base / "enough"
        for path in (self._said, self._enough):
            path.unlink(missing_ok=True)
        script = self._base / "train.py"
        script.write_text(_SCRIPT)
        own = ("--name", "trainer", "--namespace", "team-a", "--fabric", "fab", "--rank", str(number))
        torchrun = ("-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", str(script))
        command = (*RINGFENCE, "run", "--socket", str(node.socket), *own, *flags, "--", _python(), *torchrun)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                cluster.within(within or node.name, *command),
                env={
                    **os.environ,
                    **_TORCH_1_13,
                    "XDG_RUNTIME_DIR": str(self._base),
                    "SAID": str(self._said),
                    "ENOUGH": str(self._enough),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def summed(self) -> int:
        """What its collectives came to, waited for."""
        return int(until(self._sum, f"the sum of rank {self.number}", 120))

    def _sum(self) -> str:
        assert self.process.poll() is None, self.log
        return self._said.read_text() if self._said.exists() else ""

    def enough(self) -> None:
        """Let it end."""
        self._enough.touch()

    def code(self) -> int:
        """How it ended, waited for."""
        return self.process.wait(60)

    def end(self) -> None:
        """However it stands."""
        self.process.terminate()
        self.process.wait(60)

    @property
    def log(self) -> str:
        """What it and its command printed."""
        return self._log.read_text()

    @property
    def bootstrap(self) -> Any:
        """What its proxy was started with."""
        (path,) = self._base.glob("ringfence-run-*/envoy.json")
        return json.loads(path.read_text())

    def proxied(self) -> int:
        """Bytes that crossed its proxy, whichever way, but for those of the control plane."""
        (admin,) = self._base.glob("ringfence-run-*/admin.sock")
        stats = json.loads(ask(str(admin), "/stats?format=json"))["stats"]
        ours = ("cluster.ringfence_server.", "cluster.ringfence_agent.")
        return sum(
            one["value"]
            for one in stats
            if one.get("name", "").startswith("cluster.")
            and one["name"].endswith(("upstream_cx_tx_bytes_total", "upstream_cx_rx_bytes_total"))
            and not one["name"].startswith(ours)
        )


def decided(cluster: Cluster, rule: str) -> admin.Decision:
    """The last decision by that rule, waited for."""

    def find() -> admin.Decision | None:
        return next(iter([*cluster.admin.TailAuthz(admin.TailAuthzRequest(last=200, rule=rule))][::-1]), None)

    return until(find, f"a decision by {rule}")


def _python() -> str:
    """The one that Debian made its PyTorch for, as everybody would start it."""
    parts.torch()
    return everybodys_python()


def sent(node: Node, device: str) -> int:
    """Bytes that left the node by one of its interfaces."""
    return int(node.run("cat", f"/sys/class/net/{device}/statistics/tx_bytes"))


def bounded(node: Node) -> None:
    """Have gloo listen, as everything in the node's network, on the fabric's ports."""
    node.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=50001 51000")


def ranks(cluster: Cluster, exits: ExitStack, flags: Sequence[Sequence[str]], within: str = "") -> list[Rank]:
    """Both, the second started first: it has to wait for the store of the other."""
    made = []
    for number, node in reversed(list(enumerate(cluster.nodes))):
        rank = Rank(cluster, node, number, flags[number], within)
        exits.callback(rank.end)
        made.append(rank)
    return made[::-1]
